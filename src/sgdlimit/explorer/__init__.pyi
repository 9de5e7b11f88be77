from ._explore import explore as explore, serve as serve
