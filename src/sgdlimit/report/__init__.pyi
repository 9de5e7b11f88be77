from ._contents import (
    Finding as Finding,
    Page as Page,
    Picture as Picture,
    Report as Report,
    Section as Section,
    Table as Table,
    numbers as numbers,
    slug as slug,
)
from ._write import write_page as write_page
