from ._explore import explore as explore
from ._explore import serve as serve
