"""The explorer without a browser: settings there and back, curves, taking turns, what is taken away."""

import asyncio
import json
import shutil
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import panel as pn
import pytest
import xarray as xr
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler, websocket_connect

import sgdlimit as sl
from sgdlimit.errors import ProblemError
from sgdlimit.explorer import _curves as solving, _turns as taking_turns
from sgdlimit.explorer._curves import curves, times_of
from sgdlimit.explorer._gate import guard
from sgdlimit.explorer._page import Explorer
from sgdlimit.explorer._running import Streamed, discrepancies, stream, table
from sgdlimit.explorer._schematic import schematic
from sgdlimit.explorer._style import note
from sgdlimit.explorer._sweep_page import SweepPage
from sgdlimit.explorer._turns import Turn
from sgdlimit.explorer._view import DEFAULT, LARGEST, View, as_far_as_possible
from sgdlimit.plotting import entries
from sgdlimit.problem import load_problem
from sgdlimit.rules import ACTIVATIONS
from sgdlimit.settings import nested
from sgdlimit.simulation import simulate_live
from sgdlimit.single_run import run_problem

MIXTURE = sl.GaussianMixture(components=2, spread=6.0, block_size=5)
SMALL = sl.Problem(
    input_dim=200, latent_dim=100, student_units=2, teacher_units=2, activation="erf", learning_rate=0.2, latent=MIXTURE
)
BASE = {name: getattr(SMALL, name) for name in ("input_dim", "latent_dim", "student_units", "teacher_units")}
BASE |= {"activation": "erf", "learning_rate": 0.2}
BOTH = ("conventional", "moment-matched")
MIXED = {"latent.law": "gaussian-mixture", "latent.components": 2, "latent.spread": 1.0}
VIEWS = (
    DEFAULT,
    View(problem=SMALL, seed=7, time=3.5, runs=2, theories=BOTH),
    View(problem=SMALL.replace(training=sl.Training(label_noise=0.1)), theories=()),
    View(problem=SMALL.replace(teacher_activation="sign", output_weights="equal")),
    View(problem=SMALL.replace(loss="hinge", labels="sign", bias=True)),
)


@pytest.mark.parametrize("view", VIEWS, ids=("default", "mixture", "training", "teacher", "loss"))
def test_settings_there_and_back(view, tmp_path):
    assert View.from_query(view.to_query()) == view
    (tmp_path / "view.toml").write_text(view.to_toml())
    again = View.of_file(*load_problem(tmp_path / "view.toml"))
    assert again == view.replace(theories=view.theories or ("conventional",))


def test_only_a_page_is_content_with_coarse_averages():
    assert solving.drawn(SMALL.replace(activation="tanh"), 0).activation.accuracy == solving.NUMERIC_ACCURACY
    assert ACTIVATIONS["tanh"].accuracy < solving.NUMERIC_ACCURACY


def test_the_command_line_reproduces_a_view(tmp_path):
    """Its file, run: both theories, and at the times that both have the same bits of SGD."""
    view = View(problem=SMALL, seed=3, time=5.0, runs=2, theories=BOTH)
    (tmp_path / "view.toml").write_text(view.to_toml())
    (tmp_path / "out").mkdir()
    run_problem(*load_problem(tmp_path / "view.toml"), tmp_path / "out", progress=lambda *_: None)
    drawn, streamed = curves(view).theories, [sgd for _, sgd, _ in stream(view) if sgd is not None]
    times = sl.load(tmp_path / "out" / "sgd.zarr")["time"]
    shared = np.intersect1d(times, times_of(view))
    assert len(shared) > 20
    for theory in BOTH:
        solved = sl.load(tmp_path / "out" / f"theory-{theory}.zarr")
        np.testing.assert_allclose(drawn[theory]["v"].sel(time=shared), solved["v"].sel(time=shared), atol=2e-4)
    sgd = sl.load(tmp_path / "out" / "sgd.zarr")
    for name in ("Q", "R", "v"):
        shown = streamed[-1][name].sel(time=shared).transpose(*sgd[name].dims)
        np.testing.assert_array_equal(shown, sgd[name].sel(time=shared))


def test_default_address_is_empty():
    assert DEFAULT.to_query() == ""


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"input_dim": LARGEST["input_dim"] + 1}, "input_dim"),
        ({"student_units": 7}, "student_units"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({**MIXED, "latent.block_size": 7}, "latent"),
        ({"activation": "nonsense"}, "activation"),
        ({"time": 0.0001}, "time"),
        ({"theories": "mixture"}, "theories"),
        ({"theories": "conventional,conventional"}, "theories"),
        ({"seed": -1}, "seed"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"nothing": 1}, "nothing"),
    ],
)  # fmt: skip
def test_wrong_settings_name_their_field(changes, field):
    with pytest.raises(ProblemError, match=rf"^{field}"):
        View.from_settings({**DEFAULT.settings(), **changes})


def test_an_address_is_followed_as_far_as_possible():
    query = "?input_dim=abc&learning_rate=-1&foo=3&seed=4&latent.law=gaussian-mixture&latent.block_size=7"
    view, wrong = as_far_as_possible(query)
    assert view.seed == 4
    assert view.problem.input_dim == 1000
    assert view.problem.latent.law == "gaussian-mixture"
    assert set(wrong) == {"input_dim", "learning_rate", "foo", "latent.block_size"}
    assert wrong["foo"].startswith("foo: ")
    assert "divide" in wrong["latent.block_size"]


@pytest.mark.parametrize(
    "query", ["seed=" + "9" * 5000, "latent=[[[[", "seed=%00&%ff=1", "theories=&time=NaN", "latent.law.x=1"]
)
def test_hostile_addresses_are_a_sentence(query):
    view, wrong = as_far_as_possible(query)
    assert isinstance(view, View)
    assert all(isinstance(text, str) for text in wrong.values())


def test_sizes_come_before_what_must_fit_them():
    query = "latent.law=gaussian-mixture&latent.block_size=7&latent_dim=150&input_dim=x"
    view, wrong = as_far_as_possible(query)
    assert view.problem.latent_dim == 150
    assert "must divide latent_dim 150" in wrong["latent.block_size"]


def test_curves_are_those_of_solve():
    view = View(problem=SMALL, time=20.0, theories=BOTH)
    instance, times = SMALL.draw(seed=0), times_of(view)
    for theory, quick in curves(view).theories.items():
        exact = sl.solve(instance, times, theory=theory)
        for name in ("Q", "R", "v", "generalization_error"):
            np.testing.assert_allclose(quick[name], exact[name], atol=2e-4, err_msg=f"{theory} {name}")


CLASSIFIER = SMALL.replace(latent=sl.Gaussian(), loss="cross-entropy", labels="argmax", outputs=3, bias=True)


def test_any_loss_is_shown_with_its_sgd():
    """Curves to the accuracy of the page, marks of SGD, M and names of what is shown; its files too."""
    view = View(problem=CLASSIFIER, time=2.0, runs=2)
    page = Explorer(view)
    exact, quick = sl.solve(CLASSIFIER.draw(seed=0), times_of(view)), page.curves.theories["conventional"]
    for name in ("Q", "R", "head_v", "loss"):
        np.testing.assert_allclose(quick[name], exact[name], atol=1e-2, err_msg=name)
    assert page.panels.titles["generalization_error"].object == "<h3>loss</h3>"
    assert page.panels.legends["v"].object.count("<sub>") == 6
    *_, streamed = stream(view)
    page.panels.show_sgd(streamed.sgd, view.theories)
    assert all(len(page.panels.marks[name].data["x"]) for name in ("generalization_error", "Q", "R", "v"))
    assert "error rate" in table(page.curves, streamed)
    assert "cross-entropy" in page.drawing.object
    assert len(page.file("png").getvalue()) > 1000
    with pytest.raises(ProblemError, match=r"^latent.law: must have no labels in the explorer"):
        View(problem=SMALL.replace(latent={"law": "clusters", "count": 2, "mean_norm": 2.0}))


def test_instance_is_the_one_that_is_drawn():
    ours, drawn = solving.drawn(SMALL, 3), SMALL.draw(seed=3)
    for name in ("features", "student", "student_output", "teacher", "teacher_output"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(drawn, name))
    np.testing.assert_array_equal(ours.latent.means, drawn.latent.means)  # type: ignore[attr-defined]
    assert json.loads(ours.attrs["problem"]) == json.loads(drawn.attrs["problem"])


def test_theory_that_does_not_apply_is_a_note():
    uncentred = SMALL.replace(latent=MIXTURE.replace(standardize=False))
    solved = curves(View(problem=uncentred, time=1.0, theories=BOTH))
    assert set(solved.theories) == {"conventional"}
    assert any("moment-matched theory" in note for note in solved.notes)


def test_divergence_is_a_note():
    first_layer = sl.Training(output_learning_rate=0.0)
    solved = curves(View(problem=SMALL.replace(activation="relu", learning_rate=50.0, training=first_layer)))
    assert any("with η = 50 it ends before t" in note for note in solved.notes)


def test_an_error_that_is_not_resolved_is_a_note():
    linear = SMALL.replace(
        student_units=1, teacher_units=1, activation="linear", nonlinearity="identity", features="identity",
        latent_dim=SMALL.input_dim, latent=sl.Gaussian(), learning_rate=0.5,
    )  # fmt: skip
    solved = curves(View(problem=linear, time=200.0))
    assert any("ε below 2e-07 is not resolved on this page" in note for note in solved.notes)


def test_numbers_are_those_of_compare():
    view = View(problem=SMALL, time=5.0, runs=2)
    instance = SMALL.draw(seed=0)
    together = [instance, instance.replace(latent=sl.Gaussian())]
    *_, (_, last) = simulate_live(together, times_of(view), runs=2, seed=0)
    assert last is not None
    runs, floor = (some.isel(overlaps=0, drop=True).assign_attrs(overlaps="conventional") for some in last)
    theory = curves(view).theories["conventional"]
    ours = discrepancies(theory, runs, theory, floor)
    times = times_of(view)
    expected = sl.compare(sl.solve(instance, times), sl.simulate(instance, times, runs=2, test_samples=1000))
    np.testing.assert_allclose(
        ours["M"].sel(quantity=["Q", "R", "v"]), expected["M"].sel(quantity=["Q", "R", "v"]), rtol=0.02, atol=1e-4
    )


def test_entries_of_a_symmetric_overlap_come_once():
    names = [name for name, _ in entries(xr.DataArray(np.zeros((3, 3)), dims=("student", "student_"), name="Q"))]
    assert names == ["Q0,0", "Q0,1", "Q0,2", "Q1,1", "Q1,2", "Q2,2"]


def test_drawing_says_what_it_shows():
    drawing = schematic(VIEWS[1])
    assert drawing.count('class="student"') == 3
    assert "2 components" in drawing
    assert "N = 200" in drawing


@pytest.mark.parametrize("law", [sl.Gaussian(), MIXTURE], ids=("gaussian", "mixture"))
def test_noise_floor_is_of_other_noise_only_where_it_must(law):
    """On a mixture the floor has the same noise, on Gaussian inputs other runs: else it would be SGD itself."""
    view = View(problem=sl.Problem(**BASE, latent=law), time=2.0, runs=2)
    *_, (done, sgd, floor) = stream(view)
    assert sgd is not None
    assert floor is not None
    assert done == 1
    assert sgd.sizes["run"] == floor.sizes["run"] == 2
    assert not np.allclose(sgd["v"], floor["v"], atol=1e-6)
    numbers = table(curves(view), Streamed(done, sgd, floor))
    assert "noise floor" in numbers
    assert "2 runs" in numbers


# --- turns ------------------------------------------------------------------------------------------------------------


def counting(log: list, name: str, items: int, taken: list | None = None):
    """Items that take a while; ``taken`` is told whose they are."""
    try:
        for number in range(items):
            time.sleep(0.002)
            yield number
            if taken is not None:
                taken.append(name)
    finally:
        log.append(("freed", name))


def until_idle() -> None:
    deadline = time.monotonic() + 20
    while busy() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not busy()


def busy() -> bool:
    """Whether a turn has not ended, or a thread of this test could still take one of the next."""
    return bool(taking_turns.ACTIVE) or any(thread.name == "sgdlimit-turns" for thread in threading.enumerate())


@pytest.fixture
def threads(monkeypatch):
    """Gives the number of threads that advance the turns of a test."""
    return lambda count: monkeypatch.setattr(taking_turns, "THREADS", threading.Semaphore(count))


def test_turns_are_shared_evenly(threads):
    threads(1)
    log, taken = [], []
    for name in "abc":
        Turn(counting(log, name, 60, taken)).start()
    until_idle()
    assert len(taken) == 180
    first_end = min(len(taken) - taken[::-1].index(name) for name in "abc")
    assert min(taken[:first_end].count(name) for name in "abc") >= 20  # none waits for another to end


def test_a_stopped_turn_is_freed_and_takes_nothing_more(threads):
    threads(1)
    log = []
    turn = Turn(counting(log, "long", 10_000))
    turn.start()
    while turn.latest is None:
        time.sleep(0.01)
    turn.stopped = True
    until_idle()
    assert log == [("freed", "long")]
    assert turn.latest < 1000
    assert not turn.ended


def test_a_failing_turn_leaves_the_others_alone(threads):
    threads(1)

    def failing():
        yield 1
        raise RuntimeError("broken")

    broken, good = Turn(failing()), Turn(counting([], "good", 50))
    for turn in (broken, good):
        turn.start()
    until_idle()
    assert [str(turn.error) for turn in (broken, good)] == ["broken", "None"]
    assert broken.ended
    assert good.ended
    assert (broken.latest, good.latest) == (1, 49)


def test_no_more_turns_at_once_than_threads(threads):
    threads(2)
    at_once, most, counting = [0], [], threading.Lock()

    def counted():
        for _ in range(20):
            with counting:
                at_once[0] += 1
                most.append(at_once[0])
            time.sleep(0.002)
            with counting:
                at_once[0] -= 1
            yield

    for _ in range(5):
        Turn(counted()).start()
    until_idle()
    assert len(most) == 100
    assert max(most) <= 2


# --- the page's own object, as in a notebook --------------------------------------------------------------------------


@pytest.fixture
def page():
    return Explorer(View(problem=SMALL, time=5.0, runs=1, theories=BOTH))


def test_widgets_lead_to_curves(page):
    before = page.curves.theories["conventional"]["v"].values.copy()
    page.fields.widgets["learning_rate"].value = 0.5
    page.fields._by_hand(None)
    assert page.view.problem.learning_rate == 0.5
    assert not np.allclose(before, page.curves.theories["conventional"]["v"])


def test_wrong_value_is_explained_beside_its_field_and_the_curves_stay(page):
    before = page.view
    page.fields.widgets["latent.block_size"].value = 7
    page.fields._by_hand(None)
    assert "divide" in page.fields.messages["latent.block_size"].object
    assert page.view is before
    assert page.curves.theories
    page.fields.widgets["latent.block_size"].value = 10
    page.fields._by_hand(None)
    assert not page.fields.messages["latent.block_size"].object
    assert page.view.problem.latent.block_size == 10


def test_settings_without_a_widget_are_kept(page):
    page.go_to(VIEWS[2])
    page.fields.widgets["seed"].value = 5
    page.fields._by_hand(None)
    assert page.view.problem.training.label_noise == 0.1
    assert "training.label_noise = 0.1" in page.others.object
    assert "training.label_noise = 0.1" in page.view.label
    assert page.view.seed == 5


def test_runs_of_new_settings_are_not_compared_with_old_theories(page):
    page.turn = ran = Turn(stream(page.view))
    while ran.advance():
        pass
    page.compare()
    assert "noise floor" in page.numbers.object
    page.view = page.view.replace(seed=3)  # as it is before the theories of a new seed are solved
    page.forget()
    assert ran.stopped
    assert page.numbers.object == ""
    page.turn = ran
    page.show_runs()
    assert page.numbers.object == ""


def test_an_address_brings_back_the_defaults_where_a_page_began_with_something_else():
    page = Explorer(View(problem=SMALL, time=5.0, runs=1))
    page.go_to(DEFAULT.replace(time=5.0))
    page.go_to(DEFAULT)
    assert page.address() == "seed=0"
    assert View.from_query(page.address()) == DEFAULT


def test_a_field_that_is_empty_or_far_too_large_is_explained(page):
    before, slider = page.view, page.fields.widgets["input_dim"]
    slider.value = None
    page.fields._by_hand(None)
    assert "must be a number (got nothing)" in page.fields.messages["input_dim"].object
    slider.value = 10**8
    slider._slider.end = 10**8  # as the browser stretches it
    page.fields._by_hand(None)
    assert "(got 100000000)" in page.fields.messages["input_dim"].object
    assert page.view is before
    slider.value = 200
    page.fields._by_hand(None)
    assert (page.view.problem.input_dim, slider._slider.end) == (200, 2000)


def test_pins_are_in_the_address(page):
    page.pin(page.view)
    page.fields.widgets["seed"].value = 9
    page.fields._by_hand(None)
    other = Explorer(DEFAULT, page.address())
    assert other.view == page.view
    assert list(other.pinned) == list(page.pinned) != []
    other.unpin(next(iter(other.pinned)))
    assert not other.pinned


def test_what_is_taken_away(page, tmp_path):
    page.pin(page.view.replace(seed=1))
    *_, (_, last) = simulate_live([solving.drawn(SMALL, 0)], times_of(page.view), overlaps=BOTH, test_samples=100)
    assert last is not None
    page.turn = Turn(iter([]))  # type: ignore[arg-type]
    page.turn.latest = Streamed(1.0, last[0])
    assert page.file("png").read(4) == b"\x89PNG"
    assert b"<svg" in page.file("svg").read()
    (tmp_path / "view.nc").write_bytes(page.file("nc").read())
    with xr.open_datatree(tmp_path / "view.nc", engine="h5netcdf") as tree:
        assert tree["theory/conventional"]["Q"].shape == page.curves.theories["conventional"]["Q"].shape
        assert (tree["sgd"]["v"].sizes["run"] == 1 and "pinned/1/conventional" in tree.groups[-1][1:]) or tree["pinned"]
        assert View.from_query(page.view.to_query()).to_toml() == tree.attrs["settings"]
    assert page.file("toml").read().decode() == page.view.to_toml()


def test_opens_a_file_and_says_what_is_wrong_with_one(page):
    page.upload.filename = "mine.toml"
    page._opened(SimpleNamespace(new=VIEWS[1].to_toml().encode()))
    assert page.view == VIEWS[1]
    page._opened(SimpleNamespace(new=b"input_dim = 'x'"))
    assert "mine.toml" in page.fields.messages[""].object
    assert page.view == VIEWS[1]
    page._opened(SimpleNamespace(new=b"\xff\xfe\x00"))
    assert "must be valid TOML" in page.fields.messages[""].object


LAW = {"latent.law": "gaussian-mixture", "latent.components": 3, "latent.spread": 2.0}
ONE = {"student_units": 1, "teacher_units": 1, "activation": "linear"}
FILES: tuple[dict[str, Any], ...] = (
    {  # one program for all that need one of their own
        "student_units": 1, "teacher_units": 1, "activation": "linear", "teacher_activation": "linear",
        "training.schedule": {"times": [0.5], "factors": [0.5]},
    },
    {"input_dim": 128, "latent_dim": 64, "features": "orthogonal", "nonlinearity": "erf", "centre": False},
    {"student_scale": 0.5, "student_output_scale": 0.6, "teacher_scale": 0.7, "teacher_output_scale": 0.8},
    {"output_weights": "equal"}, {"student_alignment": 0.5}, {"learning_rate": 0.1}, {"task_similarity": 0.5},
    {"training.output_learning_rate": 0.3, "training.output_normalization": "1/K"},
    {"training.label_noise": 0.1, "training.weight_decay": 0.1, "training.batch_size": 3}, LAW,
    LAW | {"latent.block_size": 5, "latent.standardize": "estimated", "latent.moment_samples": 100},
    LAW | {"latent.weights": [0.2, 0.3, 0.5]}, LAW | {"latent.shared_means": False},
)  # fmt: skip
OPTIONS: tuple[dict[str, Any], ...] = (
    {"loss": "logistic", "labels": "sign", "outputs": 2, "bias": True, "rule": "dfa", "feedback_scale": 0.5},
    {
        "input_dim": 100, "features": "identity", "nonlinearity": "identity", "covariance": {"exponent": 0.5},
        "Q": 0.5, "R": 0.1, "T": 1.0, "heads": "shared",
    },
    ONE | {"training.dropout": 0.1, "training.momentum": 0.5, "training.teacher_drift": 0.1},
    ONE | {"training.memory": 2.0, "training.gradient_flow": True}, ONE | {"training.sphere": True},
    ONE | {"training.adagrad": 1.0, "training.teacher_turn": [[0.0]]}, ONE | {"training.clip": 1.0},
    ONE | {"training.polyak": [0.5, 1.0, 0.0]}, ONE | {"training.batch_fraction": 0.5},
)  # fmt: skip


def test_every_setting_of_a_file_is_tried():
    own = {*sl.Problem.model_fields} - {"latent", "training", "switch_times"}
    tables = {"latent": sl.GaussianMixture, "training": sl.Training}
    fields = own.union(*({f"{name}.{field}" for field in table.model_fields} for name, table in tables.items()))
    assert fields == {name for settings in FILES + OPTIONS for name in settings}


@pytest.mark.parametrize("files", [FILES, OPTIONS], ids=("settings", "options"))
def test_every_setting_of_a_file_has_curves(page, files):
    """The page takes it, its address brings it back, and the curves are those of the instance that is drawn."""
    for settings in files:
        problem = sl.Problem(**nested(BASE | settings))
        page.go_to(View(problem=problem, time=2.0))
        assert {*page.curves.theories} == {"conventional"}, settings
        assert page.curves.view is page.view
        assert as_far_as_possible(page.address()) == (page.view, {}), settings
        page._changed()  # the fields hold what they were given
        assert page.view.problem == problem
        shown, drawn = solving.drawn(problem, 0), problem.draw(seed=0)
        laws = (instance.latent.sample(np.random.default_rng(0), 3, problem.latent_dim) for instance in (shown, drawn))
        np.testing.assert_array_equal(*laws, err_msg=str(settings))
        for part in vars(drawn).keys() - {"latent", "rule", "transform"}:
            ours, theirs = (getattr(instance, part) for instance in (shown, drawn))
            if isinstance(ours, sl.Activation):  # a page's is less accurate
                ours, theirs = ours.digest, theirs.digest
            np.testing.assert_array_equal(ours, theirs, err_msg=f"{settings}: {part}")


def test_the_gate_answers_only_who_has_the_token():
    """Pages and WebSockets; the whole server is asked in test_explorer_page.py."""

    class Page(RequestHandler):
        def get(self):
            self.write("a page")

    class Socket(WebSocketHandler):
        def open(self):
            self.write_message("open")

    async def visit():
        server = HTTPServer(application := Application([("/", Page), ("/ws", Socket)]))
        (socket,) = bind_sockets(0, "127.0.0.1")
        port = socket.getsockname()[1]
        token, ticket = guard(application, {f"127.0.0.1:{port}"}, "key")
        server.add_socket(socket)

        def request(path, cookie="", host=f"127.0.0.1:{port}"):
            headers = {"Cookie": cookie, "Host": host}
            return HTTPRequest(
                f"{'ws' if path == '/ws' else 'http'}://127.0.0.1:{port}{path}", headers=headers, follow_redirects=False
            )

        async def ask(*how):
            answer = await AsyncHTTPClient().fetch(request(*how), raise_error=False)
            assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
            return answer.code

        key = f"key={token}"
        assert [await ask(*how) for how in (("/",), ("/", f"{key}x"), ("/?token=x",), ("/", key, "evil"))] == [403] * 4
        assert [await ask(*how) for how in (("/", key), ("/no", key), (f"/?token={token}", "", "evil"))] == [
            200,
            404,
            403,
        ]
        assert [await ask(f"/?token={each}") for each in (token, token, ticket, ticket)] == [302, 302, 302, 403]
        for refused in (request("/ws"), request("/ws", key, "evil")):
            with pytest.raises(HTTPClientError, match="403"):
                await websocket_connect(refused)
        opened = await websocket_connect(request("/ws", key))
        assert await opened.read_message() == "open"
        opened.close()
        assert await opened.read_message() is None
        server.stop()

    asyncio.run(visit())


def test_explore_in_a_notebook():
    shown = sl.explore(SMALL, seed=2, theories=BOTH, time=1.0)
    assert isinstance(shown, Explorer)
    assert shown.view.seed == 2
    assert set(shown.curves.theories) == set(BOTH)
    with pytest.raises(ProblemError, match="problem"):
        sl.explore(3)  # type: ignore[arg-type]


def test_a_notebook_takes_in_what_its_page_changed_and_not_the_curves_it_was_sent(monkeypatch):
    taken = []
    monkeypatch.setattr(pn.Row, "_on_msg", lambda self, ref, manager, msg: taken.append(msg))
    moved = {"kind": "ModelChanged", "attr": "value", "new": 0.3}
    curves_again = {"kind": "ModelChanged", "attr": "data", "new": {"type": "map", "entries": []}}
    pressed = {"kind": "MessageSent", "msg_type": "bokeh_event"}
    shown: Any = sl.explore(SMALL, time=1.0).__panel__()
    shown._on_msg("", None, {"header": {}, "content": {"events": [curves_again, moved, pressed]}})
    shown._on_msg("", None, {"header": {}})
    assert taken == [{"header": {}, "content": {"events": [moved, pressed]}}, {"header": {}}]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    sweep = sl.Sweep(
        problem={**{name: BASE[name] for name in BASE if name != "activation"}, "latent": {"components": 2}},
        grid={"activation": ["erf", "relu"], "latent.spread": [0.0, 9.0]},
        run={"instances": 2, "time": 1.0, "count": 10, "runs": 2, "theories": list(BOTH)},
    )
    path = tmp_path_factory.mktemp("sweep") / "small.zarr"
    sl.compute_sweep(sweep, path)
    return path


def test_points_of_a_sweep_are_its_means(store):
    page, results = SweepPage(store), sl.open_sweep(store)
    assert len(page.points) == 8
    chosen = 5
    point = places(results, list(page.points.values())[chosen])
    expected = results["M_Q"].sel(theory="conventional").isel(point).mean()
    drawn: Any = page.source.data
    assert drawn["y"][chosen] == pytest.approx(float(expected), rel=1e-12)
    assert drawn["x"][chosen] == pytest.approx(float(results["kl"].isel(point)))
    page.choices["activation"].value = "relu"
    assert len(page.points) == 4
    assert {point["activation"] for point in page.points.values()} == {"relu"}
    page.point.value = label = list(page.points)[2]
    shown = curves_of(page, "v", "conventional")
    theory = results["theory_v"].sel(theory="conventional").isel(places(results, page.points[label]))
    np.testing.assert_allclose(np.array(shown), theory.values.T)
    assert "Explore these settings" in page.status.object


def test_the_chosen_point_of_a_sweep_stays_and_is_said(store):
    page, results = SweepPage(store), sl.open_sweep(store)
    measure, theory = page.choices["measure"], page.choices["theory"]
    page.point.value = label = list(page.points)[5]
    point = page.points[label]
    place = places(results, point)
    for change, value, M in (
        (measure, "M(v)", "M_v"), (page.choices["spread"], point["spread"], "M_v"),
        (theory, "moment-matched", "M_v"), (measure, "M(ε_g)", "M_generalization_error"),
    ):  # fmt: skip
        change.value = value
        assert page.points[label] == point
        assert (page.shown, page.point.value) == (label, label)
        assert page.source.selected.indices == [list(page.points).index(label)]
        here = results.sel(theory=theory.value).isel(place)
        for said, number in (
            (f"{measure.value} of {theory.value} theory", here[M].mean()),
            ("noise floor", here[M.replace("M_", "floor_")].mean()), ("D_KL", here["kl"]),
        ):  # fmt: skip
            assert f"{said} = {float(number):.3g}" in page.status.object
        assert len(curves_of(page, "v", "conventional")) == 2
    page.choices["activation"].value = str(results["activation"].values[1 - place["activation"]])
    assert (page.shown, page.point.value, page.source.selected.indices) == ("none", "none", [])
    assert page.status.object == note(f"{len(page.points)} points.")
    assert len(curves_of(page, "v", "conventional")) == 0


def test_the_address_of_a_sweep_holds_what_was_chosen(store):
    page = SweepPage(store)
    assert page.address() == ""
    for name, value in {"measure": "M(v)", "against": "spread", "theory": "moment-matched"}.items():
        page.choices[name].value = value
    page.choices["activation"].value = "relu"
    page.point.value = list(page.points)[2]
    again = SweepPage(store, page.address())
    assert again.address() == page.address()
    assert (again.shown, again.points) == (page.shown, page.points)
    assert again.status.object == page.status.object
    assert not again.unknown.object
    page.point.value = "none"
    assert "point" not in page.address()
    wrong = SweepPage(store, "measure=M(v)&activation=tanh&depth=3&point=<b>")
    assert wrong.address() == "measure=M%28v%29"
    for said in ("activation tanh", "depth 3", "the point &lt;b&gt;"):
        assert said in wrong.unknown.object


def test_damage_in_a_sweep_is_a_sentence(store, tmp_path):
    copy = tmp_path / "damaged.zarr"
    shutil.copytree(store, copy)
    page = SweepPage(copy)
    for chunk in (copy / "Q").iterdir():
        if chunk.name.startswith("c."):
            chunk.write_bytes(b"nothing")
    page.point.value = list(page.points)[1]
    assert "damaged" in page.status.object


def curves_of(page: SweepPage, name: str, theory: str) -> np.ndarray:
    """The curves of a theory in one panel, a row for each entry."""
    data: Any = page.panels.lines[name].data
    here = [label.endswith(f"{theory} theory") for label in data["label"]]
    return np.asarray(data["ys"])[here]


def places(results: xr.Dataset, point: dict[str, str]) -> dict[str, int]:
    """The places of a point along the axes of its sweep."""
    return {axis: [str(x) for x in results[axis].values].index(value) for axis, value in point.items()}
