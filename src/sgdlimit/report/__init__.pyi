from ._contents import Page as Page
from ._contents import Picture as Picture
from ._contents import Section as Section
from ._contents import Table as Table
from ._contents import numbers as numbers
from ._contents import slug as slug
from ._write import write_page as write_page
