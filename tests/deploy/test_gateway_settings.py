"""The gateway's settings and the files made of them: limits of the server, tokens, replicas, readiness."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import yaml

from deploy.__main__ import main
from deploy.errors import DeployError
from deploy.gateway.faults import GATEWAY_ERRORS, GRPC_NUMBERS
from deploy.gateway.limits import CONFIG, MODEL_CONFIG, ServerLimits, read_limits
from deploy.gateway.nginx_process import check_configuration
from deploy.gateway.readiness import Answer, Readiness, ask
from deploy.gateway.render import render_main, render_upstreams
from deploy.gateway.settings import GatewaySettings, Replica
from deploy.gateway.tokens import Token, read_tokens, write_tokens
from handlers.core.errors import ERROR_TABLE, GATEWAY_TABLE
from tests.deploy.conftest import ScriptedReplica

ONE, TWO = (Replica(f"10.0.0.{n}:8080", f"10.0.0.{n}:7070", f"10.0.0.{n}:8083") for n in (1, 2))
SECRET = "0aB" * 16


def settings(certificate: tuple[Path, Path]) -> GatewaySettings:
    return GatewaySettings((ONE, TWO), read_limits(), *certificate, tokens=(Token("app", SECRET),))


def test_limits_are_those_of_the_servers_own_files(certificate: tuple[Path, Path]) -> None:
    properties = dict(
        line.split("=", 1) for line in CONFIG.read_text(encoding="utf-8").splitlines() if line[:1].isalpha()
    )
    model = yaml.safe_load(MODEL_CONFIG.read_text(encoding="utf-8"))

    rendered = render_main(settings(certificate))

    assert f"client_max_body_size {properties['max_request_size']};" in rendered
    assert f"client_max_body_size {int(properties['max_request_size']) + 5};" in rendered  # a gRPC message's frame
    for name in ("proxy", "grpc"):
        assert (
            f"{name}_read_timeout {max(model['lantern']['deadline_s'], model['responseTimeout']) + 5:.0f}s;" in rendered
        )


def test_limits_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.properties").write_text("inference_address=http://127.0.0.1:8080\n", encoding="ascii")
    with pytest.raises(DeployError, match="max_request_size"):
        read_limits(tmp_path / "config.properties")
    with pytest.raises(DeployError, match="cannot read"):
        read_limits(tmp_path / "none.properties")


def test_errors_have_codes_of_the_table_and_a_grpc_status() -> None:
    for error in GATEWAY_ERRORS:
        assert json.loads(error.envelope)["error"]["code"] == error.kind.code
        assert error.grpc_number == GRPC_NUMBERS[error.kind.grpc]
        assert not set(error.envelope) & {"'", "$"}, "nginx would read these"
    assert {error.kind.code for error in GATEWAY_ERRORS} - set(ERROR_TABLE) == set(GATEWAY_TABLE)


def test_tokens_are_made_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    write_tokens(path, ["app", "other"])

    tokens = read_tokens(path)

    assert [token.client for token in tokens] == ["app", "other"]
    assert len({token.secret for token in tokens}) == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert tokens[0].secret not in repr(tokens)


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (f"app {SECRET}\n", 0o640, "others may read it"),
        ("app short\n", 0o600, "line 1: not NAME TOKEN"),
        (f"# apps\n\na b {SECRET}\n", 0o600, "line 3: not NAME TOKEN"),
        (f'app {SECRET}"\n', 0o600, "line 1: not NAME TOKEN"),
        (f"app {SECRET}\nother {SECRET}\n", 0o600, "line 2: the same token"),
        ("# nobody\n", 0o600, "holds no token"),
    ],
)
def test_a_file_of_tokens_that_is_not_safe_is_refused(tmp_path: Path, content: str, mode: int, message: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(content, encoding="ascii")
    path.chmod(mode)

    with pytest.raises(DeployError, match=message) as caught:
        read_tokens(path)
    assert SECRET not in str(caught.value)


def test_a_replica_that_is_not_ready_is_down_in_every_group() -> None:
    rendered = render_upstreams((ONE, TWO), frozenset({TWO}))
    groups = {block.split(" ")[1]: block for block in rendered.split("\n\n") if block.startswith("upstream")}

    assert set(groups) == {"lantern_rest", "lantern_grpc", "lantern_rest_without_0", "lantern_rest_without_1"}
    for name in ("lantern_rest", "lantern_rest_without_0"):
        assert "server 10.0.0.1:8080 down;" in groups[name]
        assert "server 10.0.0.2:8080 max_fails" in groups[name]
    assert "server 10.0.0.1:7070 down;" in groups["lantern_grpc"]
    assert groups["lantern_rest_without_1"].count(" down;") == 2


@pytest.mark.parametrize("address", ["10.0.0.1", "http://10.0.0.1:80", "a b:80", "a;b:80", "::1:80"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(DeployError, match="not the address of a replica"):
        Replica(address, "10.0.0.1:7070", "10.0.0.1:8083")


def test_the_command_writes_what_nginx_takes(
    nginx_program: None, certificate: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens, out = tmp_path / "tokens", tmp_path / "nginx"
    write_tokens(tokens, ["app"])
    chain, key = map(str, certificate)
    given = ["--certificate", chain, "--key", key, "--tokens", str(tokens), "--client-ca", chain]

    status = main(
        ["gateway-render", "--out", str(out), "--replica", "127.0.0.1", "--replica", "[::1]:80:70:83", *given]
    )

    assert status == 0
    check_configuration(out)
    assert capsys.readouterr().out.strip() == str(out / "nginx.conf")
    assert "server [::1]:70 " in (out / "upstreams.conf").read_text(encoding="utf-8")
    assert stat.S_IMODE((out / "clients.conf").stat().st_mode) == 0o600
    secret = read_tokens(tokens)[0].secret
    assert secret not in (out / "nginx.conf").read_text(encoding="utf-8")


def test_a_gateway_without_an_archive_says_what_makes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = tmp_path / "run"

    assert main(["gateway", "--archive", str(tmp_path / "none.mar"), "--run-dir", str(run_dir)]) == 2
    assert "make gateway" in capsys.readouterr().err
    assert not run_dir.exists()


def test_a_gateway_that_lets_everybody_in_is_refused(certificate: tuple[Path, Path]) -> None:
    with pytest.raises(DeployError, match="needs tokens"):
        GatewaySettings((ONE,), ServerLimits(1000, 110, 120), *certificate)


def test_a_silent_replica_is_given_some_time_and_a_clear_word_none() -> None:
    answers = {ONE: Answer.READY, TWO: Answer.READY}
    readiness = Readiness((ONE, TWO), lambda replica: answers[replica], frozenset({ONE, TWO}))

    answers[ONE] = Answer.SILENT
    assert [readiness.look() for _ in range(3)] == [False, False, True]
    assert readiness.ready == {TWO}
    answers |= {ONE: Answer.READY, TWO: Answer.NOT_READY}
    assert readiness.look()
    assert readiness.ready == {ONE}
    answers[TWO] = Answer.SILENT
    assert not readiness.look()
    assert readiness.ready == {ONE}


def test_a_replica_is_asked_at_its_health_address(replicas: tuple[ScriptedReplica, ScriptedReplica]) -> None:
    replica = replicas[0]

    assert ask(replica.addresses, 5.0) is Answer.READY
    replica.be(ready=False)
    assert ask(replica.addresses, 5.0) is Answer.NOT_READY
    assert ask(Replica("127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1"), 5.0) is Answer.NOT_READY
