"""A request's trace is taken over, told, and recorded where OpenTelemetry is asked for; secrets are in none of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from support.paths import ROOT

from handlens_server.config import Config, ConfigError
from handlens_server.following import follow, request_clock, server_timing
from handlens_server.metrics import Metrics
from handlens_server.observing import observe
from handlens_server.otel_tracer import OtelTracer
from handlens_server.trace_context import TraceContext
from handlens_server.tracer_choice import open_tracer
from handlens_server.tracing import NoTracer, Tracer

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SENT = f"00-{TRACE}-{SPAN}-01"
SECRET = "hls_a-secret-that-nobody-may-see"


class TestTheHeader:
    def test_is_read_and_written(self) -> None:
        context = TraceContext.read(SENT)
        assert context == TraceContext(TRACE, SPAN, is_sampled=True)
        assert context.header() == SENT

    def test_of_a_later_version_the_known_fields_are_read(self) -> None:
        assert TraceContext.read(f"cc-{TRACE}-{SPAN}-00-what-comes-later") == TraceContext(
            TRACE, SPAN, is_sampled=False
        )

    @pytest.mark.parametrize(
        "header",
        [
            None,
            "",
            SENT.upper(),
            f"00-{'0' * 32}-{SPAN}-01",
            f"00-{TRACE}-{'0' * 16}-01",
            f"ff-{TRACE}-{SPAN}-01",
            f"00-{TRACE}-{SPAN}-01-more",
            f"00-{TRACE}-{SPAN}",
            f" {SENT}",
            f"00-{TRACE[1:]}-{SPAN}-01",
        ],
    )
    def test_anything_else_is_ignored(self, header: str | None) -> None:
        assert TraceContext.read(header) is None

    @given(st.text())
    def test_no_text_breaks_it(self, header: str) -> None:
        context = TraceContext.read(header)
        assert context is None or header.startswith(f"{header[:2]}-{context.trace_id}")


def application(tracer: Tracer) -> Flask:
    app = Flask("traced")
    observe(app, Metrics())
    follow(app, tracer)

    @app.get("/find/<name>")
    def work(name: str) -> tuple[str, int, dict[str, str]]:
        with request_clock().step("decode"):
            pass
        with request_clock().step("detect"):
            pass
        return name, 503 if name == "down" else 200, {"Server-Timing": server_timing()}

    @app.get("/fail")
    def fail() -> str:
        raise ValueError(SECRET)

    return app


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def otel(spans: InMemorySpanExporter) -> Iterator[OtelTracer]:
    tracer = OtelTracer(SimpleSpanProcessor(spans))
    yield tracer
    tracer.close()


class TestTheAnswer:
    def test_continues_the_callers_trace_with_a_span_of_its_own(self) -> None:
        client = application(NoTracer()).test_client()
        told = TraceContext.read(client.get("/find/a", headers={"traceparent": SENT}).headers["traceparent"])
        assert told is not None
        assert (told.trace_id, told.is_sampled) == (TRACE, True)
        assert told.span_id != SPAN

    def test_begins_a_trace_where_the_caller_has_none(self) -> None:
        client = application(NoTracer()).test_client()
        answers = [client.get("/find/a", headers={"traceparent": sent}) for sent in ("nonsense", "")]
        traces = {answer.headers["traceparent"].split("-")[1] for answer in answers}
        assert len(traces) == 2

    def test_says_milliseconds_by_step(self) -> None:
        timing = application(NoTracer()).test_client().get("/find/a").headers["Server-Timing"]
        steps = [one.split(";dur=") for one in timing.split(", ")]
        assert [name for name, _ in steps] == ["queue", "decode", "detect", "total"]
        assert all(float(took) >= 0 for _, took in steps)


class TestSpans:
    def test_a_request_is_a_span_and_each_step_a_span_in_it(
        self, otel: OtelTracer, spans: InMemorySpanExporter
    ) -> None:
        answer = application(otel).test_client().get("/find/a?q=1", headers={"traceparent": SENT})
        *steps, whole = spans.get_finished_spans()
        assert whole.name == "GET /find/<name>"
        assert whole.parent is not None
        assert (f"{whole.context.trace_id:032x}", f"{whole.parent.span_id:016x}") == (TRACE, SPAN)
        assert answer.headers["traceparent"] == f"00-{TRACE}-{whole.context.span_id:016x}-01"
        assert [one.name for one in steps] == ["queue", "decode", "detect"]
        assert {one.parent.span_id for one in steps if one.parent} == {whole.context.span_id}
        assert whole.attributes is not None
        assert whole.attributes["http.response.status_code"] == 200
        assert whole.attributes["handlens.request_id"] == answer.headers["X-Request-Id"]

    def test_what_the_server_fails_at_is_an_error(self, otel: OtelTracer, spans: InMemorySpanExporter) -> None:
        application(otel).test_client().get("/find/down")
        assert spans.get_finished_spans()[-1].status.status_code is StatusCode.ERROR

    def test_a_trace_that_its_caller_does_not_record_is_not_recorded(
        self, otel: OtelTracer, spans: InMemorySpanExporter
    ) -> None:
        answer = application(otel).test_client().get("/find/a", headers={"traceparent": f"00-{TRACE}-{SPAN}-00"})
        assert spans.get_finished_spans() == ()
        assert answer.headers["traceparent"].startswith(f"00-{TRACE}-")
        assert answer.headers["traceparent"].endswith("-00")

    def test_no_secret_comes_into_a_span(self, otel: OtelTracer, spans: InMemorySpanExporter) -> None:
        client = application(otel).test_client()
        sent = {"Authorization": f"Bearer {SECRET}", "Signature": SECRET, "Cookie": SECRET}
        client.get(f"/find/{SECRET}?token={SECRET}", headers=sent)
        client.get("/fail", headers=sent)
        assert len(spans.get_finished_spans()) >= 4
        assert not [one for one in spans.get_finished_spans() if SECRET in one.to_json()]


class TestTheSetting:
    def test_none_records_nothing(self) -> None:
        assert isinstance(open_tracer(Config()), NoTracer)

    def test_another_is_refused_with_what_to_give(self) -> None:
        with pytest.raises(ConfigError, match="give otlp, or none"):
            open_tracer(Config(tracing="jaeger"))

    def test_without_it_opentelemetry_is_not_imported(self, tmp_path: Path) -> None:
        program = (
            "import sys; from pathlib import Path; from handlens_server.app import create_app;"
            "from handlens_server.config import Config; create_app(Config(data_dir=Path(sys.argv[1])));"
            "print(sorted(name for name in sys.modules if name.startswith('opentelemetry')))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, tmp_path],
            env={"PYTHONPATH": f"{ROOT}/sdk:{ROOT}/server"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "[]\n"
