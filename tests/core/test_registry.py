"""Plugins are found, a broken one is named and harms no other, and a name means one component or is an error."""

import json
import os
import re
import signal
import time
from importlib.metadata import version

import pytest
from packaging.requirements import Requirement

from conftest import ROOT, write_distribution
from zoo.contract.distributions import find
from zoo.contract.registry import DISTRIBUTION, Component, Plugin, PretrainedModel, Problem, Registry, discover
from zoo.contract.specs import KINDS, DatasetSpec, DecoderSpec, DistortionSpec, EncoderSpec, ModelSpec, ObjectiveSpec
from zoo.errors import AmbiguousComponentError, ConfigError, IncompatibleError, PluginError, UnknownComponentError

HEAD = "from zoo import DecoderSpec, EncoderSpec, hookimpl\n"
SPEC = 'Spec(name="patch", target="nowhere:Nothing", summary="Patches")'
GOOD = f"{HEAD}@hookimpl\ndef zoo_encoders():\n    yield Encoder{SPEC}\n"
MODEL = """from zoo import ModelSpec, hookimpl
@hookimpl
def zoo_models():
    yield ModelSpec(name="digits", file="json:digits.safetensors", summary="Digits", command="zoo train")
"""
RAISES = f"{HEAD}@hookimpl\ndef zoo_encoders():\n    raise RuntimeError('no luck\\nat all')\n"

BROKEN = {
    "it does not import": ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
    "it is not Python": ("def (", "SyntaxError: invalid syntax"),
    "it exits": ("raise SystemExit(3)", "SystemExit: 3"),
    "a hook raises": (RAISES, "RuntimeError: no luck at all"),
    "a hook raises on the way": (GOOD + "    raise RuntimeError('no luck')", "RuntimeError: no luck"),
    "a hook yields nonsense": (GOOD + "    yield 3", "zoo_encoders must yield EncoderSpec, got 3"),
    "a hook yields another kind": (
        GOOD.replace("zoo_encoders", "zoo_decoders"),
        "zoo_decoders must yield DecoderSpec, got EncoderSpec(name='patch'",
    ),
    "a hook yields a malformed spec": (GOOD.replace('"patch"', '"Patch!"'), "ValueError: name 'Patch!' must be"),
    "a hook returns what is not iterable": (
        GOOD.replace("yield", "return"),
        "zoo_encoders must yield EncoderSpec, got EncoderSpec",
    ),
    "a hook forgets to yield": (GOOD.replace("yield", ""), "zoo_encoders must yield EncoderSpec"),
    "a hook takes an argument": (GOOD.replace("zoo_encoders()", "zoo_encoders(settings)"), "zoo_encoders(settings)"),
    "a misspelt hook": (GOOD.replace("zoo_encoders", "zoo_encoder"), "unknown hook 'zoo_encoder'"),
    "a forgotten @hookimpl": (GOOD.replace("@hookimpl", ""), "is @hookimpl missing on zoo_encoders?"),
    "a forgotten @hookimpl on one of two": (
        f"{GOOD}\ndef zoo_decoders():\n    yield Decoder{SPEC}\n",
        "is @hookimpl missing on zoo_decoders?",
    ),
    "a hook that never ends": (GOOD.replace("    yield", "    while True:\n        yield"), "more than 1000 specs"),
    "no hook": ("", "no hook found: it defines none of zoo's hooks"),
    "a misspelt hook for models": (MODEL.replace("zoo_models", "zoo_model"), "unknown hook 'zoo_model'"),
    "a forgotten @hookimpl on models": (
        GOOD + MODEL.replace("@hookimpl", ""),
        "is @hookimpl missing on zoo_models?",
    ),
    "a hook for models yields a component": (
        GOOD.replace("zoo_encoders", "zoo_models"),
        "zoo_models must yield ModelSpec, got EncoderSpec(name='patch'",
    ),
    "a model without its file": (MODEL, "model 'digits' has no file json:digits.safetensors"),
    "a model in no package": (
        MODEL.replace("json", "nowhere_to_be_found"),
        "model 'digits' has no file nowhere_to_be_found:digits.safetensors: ModuleNotFoundError: No module named",
    ),
    "one name twice": (f"{GOOD}    yield Encoder{SPEC}\n", "it offers encoder 'patch' twice"),
}
each_broken_plugin = pytest.mark.parametrize(("source", "cause"), BROKEN.values(), ids=BROKEN)


@pytest.fixture
def install(tmp_path, monkeypatch, request):
    """Install a distribution with a module for each plugin, ahead of all that is installed; return its directory."""

    def install(distribution, *, requires=(), **sources):
        site = tmp_path / distribution
        modules = {plugin: re.sub(r"\W+", "_", f"{request.node.name}_{distribution}_{plugin}") for plugin in sources}
        write_distribution(site, distribution, modules, requires=requires)
        for plugin, source in sources.items():
            (site / f"{modules[plugin]}.py").write_text(source, encoding="utf-8")
        monkeypatch.syspath_prepend(site)
        return site

    return install


@pytest.fixture
def install_model(install, request):
    """Install a distribution whose package offers the file `NAME.safetensors` as a pretrained model."""

    def install_model(distribution, name="digits"):
        package = re.sub(r"\W+", "_", f"{request.node.name}_{distribution}_files")
        source = MODEL.replace("json:digits", f"{package}:{name}").replace('"digits"', f'"{name}"')
        site = install(distribution, models=source)
        (site / package).mkdir()
        (site / package / "__init__.py").touch()
        (site / package / f"{name}.safetensors").write_bytes(b"no checkpoint")
        return site

    return install_model


@pytest.fixture
def trace(tmp_path):
    """A path, and the source of a module that makes it when it is imported and offers an encoder."""
    path = tmp_path / "imported"
    return path, f"import pathlib\npathlib.Path({str(path)!r}).touch()\n{GOOD}"


def offered(registry):
    """Return the qualified names of the encoders that a test installed."""
    installed = {DISTRIBUTION, "zoo-tiny"}
    return {c.qualified_name for c in registry.components("encoder") if c.plugin.distribution not in installed}


def component(name, distribution=DISTRIBUTION, kind="encoder", target="nowhere:Nothing"):
    """Return a component as a plugin of the distribution offers it."""
    plain = {"name": name, "target": target, "summary": "A test's"}
    data = {"image_shape": (1, 8, 8), "splits": {"train": 4, "test": 2}, "licence": "CC0-1.0", "credit": "Nobody"}
    specs = {
        "encoder": EncoderSpec, "decoder": DecoderSpec, "objective": ObjectiveSpec, "distortion": DistortionSpec,
    }  # fmt: skip
    spec = DatasetSpec(**plain, **data) if kind == "dataset" else specs[kind](**plain)
    return Component(spec, Plugin("plugin", "nowhere", distribution, "1.0"))


def model(name, distribution=DISTRIBUTION):
    """Return a pretrained model as a plugin of the distribution offers it."""
    spec = ModelSpec(name=name, file="nowhere:digits.safetensors", summary="A test's", command="zoo train")
    return PretrainedModel(spec, Plugin("plugin", "nowhere", distribution, "1.0"))


def test_a_third_partys_component_is_found(install):
    install("zoo-patch", patch=GOOD)
    assert offered(discover()) == {"zoo-patch:patch"}


def test_a_distributions_name_is_normalised(install):
    install("Zoo_Patch.Two", patch=GOOD)
    assert offered(discover()) == {"zoo-patch-two:patch"}


def test_a_plugin_may_have_nothing_to_offer(install):
    install("zoo-patch", patch=GOOD.replace("yield", "return; yield"))
    assert (discover().problems, offered(discover())) == ((), set())


@each_broken_plugin
def test_a_broken_plugin_is_reported_with_its_cause(install, source, cause):
    install("zoo-broken", broken=source)
    (problem,) = discover().problems
    assert str(problem).startswith("plugin 'broken' (zoo-broken 1.0) was not loaded: ")
    assert cause in problem.cause


@each_broken_plugin
def test_beside_a_broken_plugin_all_others_load(install, source, cause):
    before = discover().components()
    install("zoo-broken", broken=source)
    assert discover().components() == before


@each_broken_plugin
def test_a_broken_plugin_is_raised_at_once_when_strict(install, source, cause):
    install("zoo-broken", broken=source)
    with pytest.raises(PluginError, match=re.escape(cause)):
        discover(strict=True)


def test_what_a_strict_discovery_raises_has_the_cause_in_its_traceback(install):
    install("zoo-broken", broken=RAISES)
    with pytest.raises(PluginError) as caught:
        discover(strict=True)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_hook_that_is_interrupted_stops_the_discovery(install):
    install("zoo-broken", broken="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        discover()


def test_a_cause_is_one_short_line(install):
    install("zoo-broken", broken=RAISES.replace("no luck", "\\x1b[31m" + "no luck " * 1000))
    (problem,) = discover().problems
    assert str(problem).isprintable()
    assert len(str(problem)) < 400


def test_a_distribution_without_metadata_harms_no_other(install):
    before = discover().components()
    site = install("zoo-broken", broken=GOOD)
    (site / "zoo_broken-1.0.dist-info" / "METADATA").unlink()
    assert set(before) <= set(discover().components())


def leave_behind(site, directory, *, of, metadata=True):
    """Write what an interrupted pip leaves of a distribution: a directory with entry points, METADATA or not."""
    folder = site / directory
    folder.mkdir(parents=True)
    points = find(of).entry_points.select(group="zoo")
    (folder / "entry_points.txt").write_text("\n".join(["[zoo]", *(f"{p.name} = {p.value}" for p in points)]))
    if metadata:
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {of}\nVersion: 0.0.9\n")


LEFTOVERS = {
    "renamed by pip": ("~utoencoder_zoo-0.0.9.dist-info", True),
    "renamed by an old pip": ("-utoencoder_zoo-0.0.9.dist-info", True),
    "renamed, without METADATA": ("~utoencoder_zoo-0.0.9.dist-info", False),
    "an old version": ("autoencoder_zoo-0.0.9.dist-info", False),
    "without any name": ("-.dist-info", False),
}


@pytest.mark.parametrize(("directory", "metadata"), LEFTOVERS.values(), ids=LEFTOVERS)
@pytest.mark.parametrize("command", [["plugins"], ["list"], ["info", "encoder", "mlp"], ["--version"], ["--help"]])
def test_a_leftover_of_the_zoo_itself_changes_nothing(run_zoo, tmp_path, directory, metadata, command):
    leave_behind(tmp_path / "site", directory, of=DISTRIBUTION, metadata=metadata)
    expected = run_zoo(*command)
    result = run_zoo(*command, environment={"PYTHONPATH": str(tmp_path / "site")})
    assert (result.status, result.stderr) == (0, "")
    assert sorted(result.stdout.splitlines()) == sorted(expected.stdout.splitlines())


def test_a_leftover_of_a_plugin_that_is_gone_is_no_plugin(install):
    site = install("zoo-patch", patch=GOOD)
    (site / "zoo_patch-1.0.dist-info").rename(site / "~oo_patch-1.0.dist-info")
    registry = discover()
    assert (offered(registry), registry.problems) == (set(), ())


def test_an_entry_point_that_is_written_twice_is_one_plugin(install, run_zoo):
    site = install("zoo-patch", patch=GOOD)
    points = site / "zoo_patch-1.0.dist-info" / "entry_points.txt"
    points.write_text(points.read_text() + "\n" + points.read_text().splitlines()[-1])
    result = run_zoo("plugins", environment={"PYTHONPATH": str(site)})
    assert (result.status, result.stderr) == (0, "")
    assert result.stdout.count("zoo-patch") == 1


@pytest.mark.parametrize("damage", ["METADATA is missing", "METADATA is empty", "METADATA is not text"])
def test_a_plugin_whose_metadata_cannot_be_read_is_named_where_it_is_missed(install, run_zoo, damage):
    site = install("zoo-broken", broken=GOOD)
    metadata = site / "zoo_broken-1.0.dist-info" / "METADATA"
    metadata.write_bytes(b"" if damage == "METADATA is empty" else b"\xff\xfe\x00")
    if damage == "METADATA is missing":
        metadata.unlink()
    environment = {"PYTHONPATH": str(site)}
    listed = run_zoo("list", environment=environment)
    assert (listed.status, listed.stderr) == (0, "")
    line = "broken  unknown ?  the METADATA of its distribution cannot be read: install it again"
    assert run_zoo("plugins", environment=environment).stdout.endswith(f"not loaded\n  {line}\n")
    missed = run_zoo("info", "encoder", "patch", environment=environment)
    assert (missed.status, missed.stderr.count("the METADATA of its distribution cannot be read")) == (2, 1)


@pytest.mark.parametrize("text", [b"[zoo]\nno equals sign", b"[zoo]\n\xff = a", b"\xff"], ids=repr)
def test_damaged_entry_points_of_any_distribution_harm_no_other(install, text):
    before = discover().components()
    site = install("zoo-broken", broken=GOOD)
    (site / "zoo_broken-1.0.dist-info" / "entry_points.txt").write_bytes(text)
    assert discover().components() == before


@pytest.fixture
def alarm():
    """Be a caller with a handler of alarms: return the list of the times at which they went off."""
    times = []

    def ring(*_):
        times.append(time.monotonic())

    handler = signal.signal(signal.SIGALRM, ring)
    yield times
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, handler)


def test_the_callers_alarm_goes_on_less_the_time_that_plugins_took(install, alarm):
    install("zoo-slow", slow=f"import time\ntime.sleep(0.2)\n{GOOD}")
    handler = signal.getsignal(signal.SIGALRM)
    signal.setitimer(signal.ITIMER_REAL, 1000, 7)
    discover()
    remaining, interval = signal.getitimer(signal.ITIMER_REAL)
    assert (0 < remaining <= 999.8, interval) == (True, 7)
    assert (signal.getsignal(signal.SIGALRM), alarm) == (handler, [])


def test_an_alarm_that_came_due_meanwhile_goes_off_at_once(install, alarm):
    install("zoo-slow", slow=f"import time\ntime.sleep(0.2)\n{GOOD}")
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    discover()
    for _ in range(3000):
        if not alarm:
            time.sleep(0.001)
    assert len(alarm) == 1


def test_no_alarm_is_left_where_the_caller_had_none(alarm):
    discover()
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_broken_plugin_is_one_line_on_stderr(install, run_zoo):
    site = install("zoo-broken", broken=RAISES)
    result = run_zoo("list", environment={"PYTHONPATH": str(site)})
    assert result.stderr == "zoo: plugin 'broken' (zoo-broken 1.0) was not loaded: RuntimeError: no luck at all\n"
    assert result.status == 0


def test_a_plugin_that_exits_is_one_line_on_stderr(install, run_zoo):
    site = install("zoo-broken", broken="raise SystemExit(3)")
    result = run_zoo("list", environment={"PYTHONPATH": str(site)})
    assert result.stderr == "zoo: plugin 'broken' (zoo-broken 1.0) was not loaded: SystemExit: 3\n"
    assert result.status == 0


def test_zoo_plugins_shows_a_broken_plugin_under_not_loaded(install, run_zoo):
    site = install("zoo-broken", broken=RAISES)
    result = run_zoo("plugins", environment={"PYTHONPATH": str(site)})
    assert result.stdout.endswith("not loaded\n  broken  zoo-broken 1.0  RuntimeError: no luck at all\n")


def test_zoo_plugins_verbose_shows_the_traceback(install, run_zoo):
    site = install("zoo-broken", broken=RAISES)
    result = run_zoo("plugins", "--verbose", environment={"PYTHONPATH": str(site)})
    assert "Traceback (most recent call last):" in result.stdout
    assert "in zoo_encoders" in result.stdout


def test_zoo_plugins_as_json_has_the_cause(install, run_zoo):
    site = install("zoo-broken", broken=RAISES)
    result = run_zoo("plugins", "--json", environment={"PYTHONPATH": str(site)})
    (plugin,) = json.loads(result.stdout)["not_loaded"]
    assert (plugin["distribution"], plugin["cause"]) == ("zoo-broken", "RuntimeError: no luck at all")


def test_asking_for_a_broken_plugins_component_gives_the_cause(install, run_zoo):
    site = install("zoo-broken", broken=RAISES)
    result = run_zoo("info", "encoder", "patch", environment={"PYTHONPATH": str(site)})
    assert result.stderr.splitlines()[-1].endswith("Not loaded: zoo-broken 1.0 (RuntimeError: no luck at all).")
    assert result.status == 2


@pytest.mark.parametrize(
    "source", ["while True:\n    pass", GOOD.replace("yield", "import time; time.sleep(600); yield")]
)
def test_a_plugin_that_hangs_is_named_and_the_others_work(install, run_zoo, source):
    environment = {"PYTHONPATH": str(install("zoo-hanging", hanging=source)), "ZOO_PLUGIN_SECONDS": "2"}
    result = run_zoo("list", "encoder", environment=environment)
    assert result.status == 0
    assert result.stdout.startswith("encoder  conv")
    assert result.stderr == (
        "zoo: plugin 'hanging' (zoo-hanging 1.0) was not loaded: it takes more than 2 s to say what it offers\n"
    )


@pytest.mark.parametrize("text", ["abc", "", "0", "-1", "nan"])
def test_a_time_limit_that_is_none_is_refused(run_zoo, text):
    result = run_zoo("list", environment={"ZOO_PLUGIN_SECONDS": text})
    assert result.status == 2
    assert result.stderr == f"zoo: ZOO_PLUGIN_SECONDS must be a number of seconds over 0, got '{text}'.\n"


def test_zoo_strict_ends_the_program_at_the_first_broken_plugin(install, run_zoo):
    site = install("zoo-broken", broken=RAISES)
    result = run_zoo("list", environment={"PYTHONPATH": str(site), "ZOO_STRICT": "1"})
    assert result.stderr == "zoo: plugin 'broken' (zoo-broken 1.0) was not loaded: RuntimeError: no luck at all\n"
    assert (result.status, result.stdout) == (1, "")


@pytest.mark.parametrize("value", ["", "0"])
def test_zoo_strict_can_be_switched_off(install, run_zoo, value):
    site = install("zoo-broken", broken=RAISES)
    assert run_zoo("list", environment={"PYTHONPATH": str(site), "ZOO_STRICT": value}).status == 0


def test_a_blocked_plugin_is_no_failure_when_strict(install):
    install("zoo-patch", patch=GOOD)
    (problem,) = discover({"patch"}, strict=True).problems
    assert problem.error is None


@pytest.mark.parametrize(
    "requirement",
    [
        "autoencoder-zoo>=99",
        "Autoencoder_Zoo >= 99",
        "AUTOENCODER.ZOO>=99",
        "autoencoder-zoo[demo]>=99",
        "autoencoder-zoo>=99; python_version >= '3'",
    ],
)
def test_a_plugin_for_another_version_is_reported_and_not_imported(install, trace, requirement):
    path, source = trace
    install("zoo-patch", requires=("numpy", requirement), patch=source)
    (problem,) = discover().problems
    assert problem.cause.startswith("it asks for autoencoder-zoo>=99, installed is ")
    assert not path.exists()


@pytest.mark.parametrize("requirement", ["autoencoder-zoo>=0.1,<0.2", "autoencoder-zoo<0.2", "autoencoder-zoo~=0.1.0"])
def test_a_plugin_for_the_contract_0_1_is_not_imported_and_told_what_to_change(install, run_zoo, trace, requirement):
    path, source = trace
    site = install("zoo-patch", requires=(requirement,), patch=source)
    result = run_zoo("list", environment={"PYTHONPATH": str(site)})
    (line,) = result.stderr.splitlines()
    asked = Requirement(requirement).specifier
    assert line == (
        f"zoo: plugin 'patch' (zoo-patch 1.0) was not loaded: it asks for autoencoder-zoo{asked}, installed is "
        f'{version("autoencoder-zoo")}: adapt it as "From 0.1 to 0.2" in plugins/README.md says, then ask for '
        "autoencoder-zoo>=0.2"
    )
    assert not path.exists()
    guide = (ROOT / "plugins" / "README.md").read_text(encoding="utf-8")
    assert "\n## From 0.1 to 0.2\n" in guide


@pytest.mark.parametrize(
    "requirement",
    [
        "autoencoder-zoo",
        "autoencoder-zoo>=0.1",
        "autoencoder-zoo>=99; extra == 'future'",
        "autoencoder-zoo>=99; python_version < '3'",
        "autoencoder-zoo-extras>=99",
        "zoo>=99",
    ],
)
def test_a_plugin_for_this_version_is_loaded(install, requirement):
    install("zoo-patch", requires=(requirement,), patch=GOOD)
    assert offered(discover()) == {"zoo-patch:patch"}


def test_a_requirement_that_cannot_be_read_is_reported(install):
    install("zoo-patch", requires=("autoencoder-zoo at least 1",), patch=GOOD)
    (problem,) = discover().problems
    assert problem.cause.startswith("InvalidRequirement: ")


def test_a_built_in_is_never_shadowed(install):
    install("zoo-copy", copy=GOOD.replace('"patch"', '"mlp"'))
    assert discover().get("encoder", "mlp").plugin.built_in


@pytest.mark.parametrize("distribution", ["zoo-copy", DISTRIBUTION])
def test_a_qualified_name_means_its_own_distribution_beside_a_built_in(install, distribution):
    install("zoo-copy", copy=GOOD.replace('"patch"', '"mlp"'))
    assert discover().get("encoder", f"{distribution}:mlp").plugin.distribution == distribution


in_either_order = pytest.mark.parametrize("order", [("zoo-one", "zoo-two"), ("zoo-two", "zoo-one")], ids=" ".join)


@in_either_order
def test_a_name_that_two_third_parties_offer_is_an_error_when_used(install, order):
    for distribution in order:
        install(distribution, plugin=GOOD)
    with pytest.raises(AmbiguousComponentError) as caught:
        discover().get("encoder", "patch")
    assert str(caught.value) == "Several plugins offer encoder 'patch': say 'zoo-one:patch' or 'zoo-two:patch'."


@in_either_order
def test_a_qualified_name_means_its_own_distribution_beside_a_third_party(install, order):
    for distribution in order:
        install(distribution, plugin=GOOD)
    assert discover().get("encoder", "zoo-two:patch").plugin.distribution == "zoo-two"


def test_a_name_that_two_third_parties_offer_is_listed_twice(install):
    install("zoo-one", plugin=GOOD)
    install("zoo-two", plugin=GOOD)
    assert offered(discover()) == {"zoo-one:patch", "zoo-two:patch"}


def test_one_name_from_two_plugins_of_one_distribution_is_reported(install):
    install("zoo-patch", one=GOOD, two=GOOD)
    assert any("encoder 'patch'" in problem.cause for problem in discover().problems)


def test_one_name_for_two_kinds_is_no_clash(install):
    install("zoo-patch", patch=f"{GOOD}@hookimpl\ndef zoo_decoders():\n    yield Decoder{SPEC}\n")
    registry = discover()
    assert {registry.get(kind, "patch").kind for kind in ("encoder", "decoder")} == {"encoder", "decoder"}


@pytest.mark.parametrize("name", ["patch", "zoo-patch"], ids=["by plugin", "by distribution"])
def test_a_blocked_plugin_is_not_imported(install, trace, name):
    path, source = trace
    install("zoo-patch", patch=source)
    registry = discover({name})
    assert offered(registry) == set()
    assert not path.exists()


def test_built_ins_only_imports_no_other_plugin(install, trace):
    path, source = trace
    install("zoo-patch", patch=source)
    assert {c.plugin.distribution for c in discover(built_ins_only=True).components()} == {DISTRIBUTION}
    assert not path.exists()


@pytest.mark.parametrize("value", ["patch", "zoo-patch", " other-thing , zoo-patch,"])
def test_an_error_about_a_blocked_plugins_component_says_so(install, run_zoo, value):
    site = install("zoo-patch", patch=GOOD)
    result = run_zoo("info", "encoder", "patch", environment={"PYTHONPATH": str(site), "ZOO_BLOCK": value})
    assert result.stderr.splitlines()[-1].endswith("Not loaded: zoo-patch 1.0 (blocked by ZOO_BLOCK).")
    assert result.status == 2


def test_a_blocked_plugin_is_no_news_on_stderr(install, run_zoo):
    site = install("zoo-patch", patch=GOOD)
    assert run_zoo("list", environment={"PYTHONPATH": str(site), "ZOO_BLOCK": "patch"}).stderr == ""


def test_zoo_plugins_shows_a_blocked_plugin_under_not_loaded(install, run_zoo):
    site = install("zoo-patch", patch=GOOD)
    result = run_zoo("plugins", environment={"PYTHONPATH": str(site), "ZOO_BLOCK": "patch"})
    assert result.stdout.endswith("not loaded\n  patch  zoo-patch 1.0  blocked by ZOO_BLOCK\n")


def test_an_unknown_name_in_zoo_block_is_a_warning(run_zoo):
    result = run_zoo("list", environment={"ZOO_BLOCK": "zoo-tinny"})
    assert result.stderr == "zoo: ZOO_BLOCK names no installed plugin: 'zoo-tinny'. Did you mean 'zoo-tiny'?\n"
    assert result.status == 0


@pytest.mark.parametrize(
    ("flags", "environment"),
    [(["--no-plugins"], {}), ([], {"ZOO_NO_PLUGINS": "1"})],
    ids=["flag", "environment"],
)
def test_without_plugins_there_are_built_ins_only(run_zoo, flags, environment):
    result = run_zoo(*flags, "list", "--json", environment=environment)
    assert {c["distribution"] for c in json.loads(result.stdout)} == {DISTRIBUTION}


def test_without_plugins_an_error_about_their_component_says_so(run_zoo):
    result = run_zoo("--no-plugins", "info", "dataset", "tiny")
    assert "Not loaded: zoo-tiny 1.0 (blocked by --no-plugins)." in result.stderr
    assert result.status == 2


def test_an_unknown_component_is_refused_with_a_close_name_and_the_installed_ones():
    registry = Registry((), [component("mlp"), component("conv"), component("other", kind="decoder")], ())
    with pytest.raises(UnknownComponentError) as caught:
        registry.get("encoder", "mpl")
    assert str(caught.value) == "No encoder 'mpl'. Did you mean 'mlp'? Installed: conv, mlp."


def test_an_unknown_component_is_refused_with_the_plugins_that_were_not_loaded():
    problems = [Problem(Plugin(name, "nowhere", f"zoo-{name}", "1.0"), "no luck") for name in ("one", "two")]
    with pytest.raises(UnknownComponentError) as caught:
        Registry((), (), problems).get("encoder", "patch")
    expected = "No encoder 'patch'. Installed: none. Not loaded: zoo-one 1.0 (no luck); zoo-two 1.0 (no luck)."
    assert str(caught.value) == expected


@pytest.mark.parametrize("name", ["zoo-other:mlp", f"{DISTRIBUTION}:other", f"{DISTRIBUTION}:", ":mlp", ""])
def test_a_qualified_name_that_is_not_installed_is_unknown(name):
    with pytest.raises(UnknownComponentError):
        Registry((), [component("mlp")], ()).get("encoder", name)


def test_a_component_of_another_kind_is_unknown():
    with pytest.raises(UnknownComponentError):
        Registry((), [component("mlp")], ()).get("decoder", "mlp")


@pytest.mark.parametrize(
    ("name", "there"), [("patch", True), ("zoo-one:patch", True), ("zoo-three:patch", False), ("mlp", False)]
)
def test_a_registry_has_a_name_though_it_is_ambiguous(name, there):
    registry = Registry((), [component("patch", "zoo-one"), component("patch", "zoo-two")], ())
    assert registry.has("encoder", name) is there


def test_components_are_listed_by_kind_then_built_ins_then_name():
    expected = [
        component(name, distribution, kind)
        for kind in KINDS
        for name, distribution in [("b", DISTRIBUTION), ("c", DISTRIBUTION), ("a", "zoo-one"), ("a", "zoo-two")]
    ]
    assert Registry((), expected[::-1], ()).components() == tuple(expected)


def test_listing_a_component_does_not_import_its_target(install, run_zoo):
    site = install("zoo-patch", patch=GOOD)
    result = run_zoo("list", "encoder", environment={"PYTHONPATH": str(site)})
    assert (result.status, result.stderr) == (0, "")
    assert "zoo-patch 1.0" in result.stdout


def test_a_third_partys_model_is_found(install_model):
    site = install_model("zoo-digits")
    found = discover().model("digits")
    assert (found.qualified_name, str(found)) == ("zoo-digits:digits", "model 'digits'")
    assert found.path.read_bytes() == b"no checkpoint"
    assert site in found.path.parents


def test_a_model_is_no_component(install_model):
    before = discover().components()
    install_model("zoo-digits")
    assert discover().components() == before


def test_everything_that_has_a_name_is_offered_components_first():
    registry = Registry((), [component("mlp"), component("digits")], (), [model("digits")])
    assert registry.offers() == (component("digits"), component("mlp"), model("digits"))


def test_a_built_in_model_is_never_shadowed(install_model):
    (name, *_) = (m.name for m in discover().models() if m.plugin.built_in)
    install_model("zoo-digits", name)
    registry = discover()
    assert registry.model(name).plugin.built_in
    assert registry.model(f"zoo-digits:{name}").plugin.distribution == "zoo-digits"


@in_either_order
def test_a_model_that_two_third_parties_offer_is_an_error_when_used(install_model, order):
    for distribution in order:
        install_model(distribution)
    registry = discover()
    with pytest.raises(AmbiguousComponentError) as caught:
        registry.model("digits")
    assert str(caught.value) == "Several plugins offer model 'digits': say 'zoo-one:digits' or 'zoo-two:digits'."
    assert registry.model("zoo-two:digits").plugin.distribution == "zoo-two"


def test_one_models_name_from_two_plugins_of_one_distribution_is_reported(install):
    source = MODEL.replace("json:digits.safetensors", "zoo_models:mnist-mlp.safetensors")
    install("zoo-digits", one=source, two=source)
    (problem,) = discover().problems
    assert "it offers model 'digits', as plugin" in problem.cause


def test_models_are_listed_built_ins_first_then_by_name():
    expected = [model("b"), model("c"), model("a", "zoo-one"), model("a", "zoo-two")]
    assert Registry((), (), (), expected[::-1]).models() == tuple(expected)


def test_an_unknown_model_is_refused_with_a_close_name_and_the_installed_ones():
    problem = Problem(Plugin("one", "nowhere", "zoo-one", "1.0"), "no luck")
    registry = Registry((), [component("digits")], [problem], [model("digits"), model("faces")])
    with pytest.raises(UnknownComponentError) as caught:
        registry.model("digit")
    expected = "No model 'digit'. Did you mean 'digits'? Models: digits, faces. Not loaded: zoo-one 1.0 (no luck)."
    assert str(caught.value) == expected


def test_a_models_file_that_has_gone_since_is_the_plugins_fault(install_model):
    install_model("zoo-digits")
    found = discover().model("digits")
    found.path.unlink()
    with pytest.raises(PluginError, match=r"model 'digits' has no file \w+:digits\.safetensors"):
        _ = found.path


def test_a_blocked_plugins_model_is_named_with_the_plugin(install_model, run_zoo):
    environment = {"PYTHONPATH": str(install_model("zoo-digits")), "ZOO_BLOCK": "zoo-digits"}
    result = run_zoo("info", "model", "digits", environment=environment)
    assert result.stderr.endswith("Not loaded: zoo-digits 1.0 (blocked by ZOO_BLOCK).\n")
    assert result.status == 2


def test_a_component_loads_its_target():
    assert component("mlp", target="os.path:join").load() is os.path.join


@pytest.mark.parametrize(
    ("target", "cause"),
    [
        ("nowhere_to_be_found:Encoder", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("os.path:Encoder", "AttributeError: module 'posixpath' has no attribute 'Encoder'"),
    ],
)
def test_a_target_that_cannot_be_imported_is_the_plugins_fault(target, cause):
    with pytest.raises(PluginError) as caught:
        component("patch", "zoo-patch", target=target).load()
    assert str(caught.value) == f"encoder 'patch' of zoo-patch 1.0 could not be imported from {target}: {cause}"


def test_a_target_that_exits_is_the_plugins_fault(install):
    site = install("zoo-patch", patch=GOOD)
    (site / "target_that_exits.py").write_text("raise SystemExit(3)")
    with pytest.raises(PluginError, match="SystemExit: 3"):
        component("patch", "zoo-patch", target="target_that_exits:Encoder").load()


# The default of a kind


def of_kind(name, distribution, *, default=False, spec=EncoderSpec):
    plugin = Plugin(distribution.removeprefix("zoo-"), "nowhere", distribution, "1.0")
    return Component(spec(name=name, target=f"{__name__}:Patched", summary="A test's", default=default), plugin)


def test_the_default_is_the_component_whose_spec_says_so():
    registry = Registry((), [of_kind("a", "zoo-one"), of_kind("b", "zoo-one", default=True)], ())
    assert registry.default("encoder").name == "b"


def test_a_built_in_default_goes_before_a_third_partys():
    registry = Registry((), [of_kind("a", "zoo-one", default=True), of_kind("b", DISTRIBUTION, default=True)], ())
    assert registry.default("encoder").name == "b"


def test_a_kind_without_a_default_must_be_chosen():
    registry = Registry((), [of_kind("a", "zoo-one"), of_kind("b", "zoo-one")], ())
    with pytest.raises(ConfigError, match=r"^No encoder given: --encoder NAME, one of: a, b\.$"):
        registry.default("encoder")


def test_the_built_ins_have_their_defaults():
    registry = discover(built_ins_only=True)
    defaults = {kind: registry.default(kind).name for kind in ("decoder", "objective", "distortion")}
    assert defaults == {"decoder": "mlp", "objective": "ae", "distortion": "mse"}


# Building one


class Patched:
    """Keeps what it was built from, or raises."""

    def __init__(self, image_shape, out_features, *, width: int = 4, error: str = ""):
        if error:
            raise {"value": ValueError, "type": TypeError, "runtime": RuntimeError}[error]("no luck\nat all")
        self.given = (image_shape, out_features, width)


def test_a_component_is_built_from_the_contracts_arguments_and_its_options():
    assert of_kind("a", "zoo-one").build((1, 2, 3), 5, options={"width": "7"}).given == ((1, 2, 3), 5, 7)
    assert of_kind("a", "zoo-one").build((1, 2, 3), 5).given == ((1, 2, 3), 5, 4)


def test_a_component_that_refuses_its_arguments_is_named_with_them():
    message = r"^encoder 'a' cannot be built for image_shape 1×2×3, out_features 5: no luck\\nat all$"
    with pytest.raises(IncompatibleError, match=message):
        of_kind("a", "zoo-one").build((1, 2, 3), 5, options={"error": "value"})


@pytest.mark.parametrize("error", ["type", "runtime"])
def test_a_component_that_fails_while_it_is_built_is_named_with_its_distribution(error):
    with pytest.raises(PluginError, match=r"^encoder 'a' of zoo-one 1\.0 cannot be built: \w+Error: no luck"):
        of_kind("a", "zoo-one").build((1, 2, 3), 5, options={"error": error})


def test_an_unknown_option_is_refused_before_anything_is_built():
    with pytest.raises(ConfigError, match=r"^Unknown option 'encoder\.widht'\. Did you mean 'width'\?"):
        of_kind("a", "zoo-one").build((1, 2, 3), 5, options={"widht": 1})
