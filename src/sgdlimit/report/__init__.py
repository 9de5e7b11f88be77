"""Reports: pages written from datasets and figures."""
