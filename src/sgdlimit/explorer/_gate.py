"""Access to the server: only for browsers that opened an address with its token, under the names of this machine."""

from secrets import token_urlsafe
from urllib.parse import parse_qsl

from tornado.httputil import HTTPHeaders, url_concat
from tornado.web import Application, OutputTransform, RequestHandler


def guard(application: Application, hosts: set[str], cookie: str) -> tuple[str, str]:
    """Refuse every request without the token or for another host: pages, files and WebSockets.

    Any user of this machine can reach the port, so a browser must show a token. The token stands in the first address
    and afterwards in a cookie. An attacker can let another name point here, and pages under it would share our origin.
    So only requests for ``hosts`` are answered.

    Parameters
    ----------
    application
        The web application of the server.
    hosts
        Names of this machine, each with the port.
    cookie
        Name of the cookie. Ports share their cookies, so it names the port.

    Returns
    -------
    token
        Opens the pages any number of times.
    ticket
        Opens the pages once. Other users can read the command line of a browser, but come too late.
    """
    token, ticket = token_urlsafe(), token_urlsafe()
    valid, find = {token, ticket}, application.find_handler

    def find_handler(request, **settings):
        offered = {value.decode("latin-1") for value in request.query_arguments.get("token", ())}
        held = request.cookies.get(cookie)
        known = bool(offered & valid) or (held is not None and held.value == token)
        if request.host not in hosts or not known:
            return application.get_handler_delegate(request, _Refusal)
        if not offered:
            return find(request, **settings)
        valid.difference_update(offered - {token})
        return application.get_handler_delegate(request, _Entrance, {"cookie": cookie, "token": token})

    application.find_handler = find_handler
    application.add_transform(_Unframed)
    return token, ticket


class _Refusal(RequestHandler):
    """The answer to a request without the token."""

    def prepare(self) -> None:
        self.set_status(403)
        self.finish("Open the whole address that the terminal shows, with its token.\n")


class _Entrance(RequestHandler):
    """The answer to a request with the token: a cookie that holds it, and the same address without it."""

    def initialize(self, cookie: str, token: str) -> None:
        self.kept = cookie, token

    def get(self) -> None:
        self.set_cookie(*self.kept, expires_days=None, httponly=True, samesite="Lax")
        pairs = parse_qsl(self.request.query, keep_blank_values=True)
        self.redirect(url_concat(self.request.path, [pair for pair in pairs if pair[0] != "token"]))


class _Unframed(OutputTransform):
    """Forbid other pages to show ours in a frame, where they could misdirect clicks."""

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        headers["Content-Security-Policy"] = "frame-ancestors 'none'"
        return status_code, headers, chunk
