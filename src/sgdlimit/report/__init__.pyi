from ._contents import (
    Page as Page,
    Picture as Picture,
    Section as Section,
    Table as Table,
    numbers as numbers,
    slug as slug,
)
from ._write import write_page as write_page
