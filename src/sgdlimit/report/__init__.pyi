from ._contents import (
    Finding as Finding,
    Page as Page,
    Picture as Picture,
    Report as Report,
    Section as Section,
    numbers as numbers,
)
from ._labelled import check_labels as check_labels
from ._write import write_page as write_page
