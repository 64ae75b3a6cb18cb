"""Requests that the OpenAPI description allows, and some that it does not: none is an error of the server."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings

from catalogs.errors import ErrorCode, ScannerError
from tests.scanner.web.conftest import catalogue, client  # noqa: F401 (fixtures)
from tests.support import demo_site

HEADERS = {"authorization": f"Bearer {demo_site.TOKEN}", "host": "localhost"}


@pytest.fixture(scope="module")
def api(client: TestClient) -> Any:  # noqa: F811
    made = client.post("/hunt/rounds", json={"question": {"sort": "mag_auto"}, "count": 3})
    assert made.status_code == 201
    return schemathesis.openapi.from_asgi("/openapi.json", client.app, headers=HEADERS)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are looked up on-line."""

    def unresolved(*_: object) -> None:
        raise ScannerError(ErrorCode.NAME_UNRESOLVED, "There is no network in this test.")

    monkeypatch.setattr("scanner.queries.places.collect_positions", unresolved)


def test_no_request_is_an_error_of_the_server(api: Any) -> None:
    for found in api.get_all_operations():
        operation = found.ok()

        @settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            # A busy machine may take long over one answer.
            answer = case.call(headers=HEADERS, timeout=600)
            assert answer.status_code < 500, case.as_curl_command()

        ask()
