"""Microsoft's own Python SDK for Dataverse against the sandbox, over TLS: what nobody here wrote must work."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from azure.core.credentials import AccessToken
from PowerPlatform.Dataverse.client import DataverseClient
from PowerPlatform.Dataverse.core.errors import HttpError, MetadataError
from PowerPlatform.Dataverse.models.filters import col
from PowerPlatform.Dataverse.models.upsert import UpsertItem
from sales_world import new_store

from p2c_lib.sandbox.dataverse import create_app
from serving import serve


class Credential:
    """A sign-in that needs nobody."""

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        assert scopes[0].endswith("/.default")
        return AccessToken("sandbox", int(time.time()) + 3600)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataverseClient]:
    folder: Path = tmp_path_factory.mktemp("sdk")
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    store = new_store(folder)
    with pytest.MonkeyPatch.context() as patch, serve(create_app(store), ssl=context) as url:
        patch.setenv("REQUESTS_CA_BUNDLE", str(folder / "ca.pem"))
        with DataverseClient(url, Credential()) as sdk:
            yield sdk
    store.close()


def names(client: DataverseClient, **options: Any) -> list[str]:
    return sorted(row["name"] for row in client.records.list("account", select=["name"], **options))


def test_create_read_update_delete(client: DataverseClient) -> None:
    row_id = client.records.create("account", {"name": "One", "creditlimit": 10.5, "accountcategorycode": "Standard"})
    row = client.records.retrieve("account", row_id, select=["name", "creditlimit", "accountcategorycode"])
    assert row is not None
    assert (row["name"], row["creditlimit"], row["accountcategorycode"]) == ("One", 10.5, 2)  # the label became 2
    client.records.update("account", row_id, {"name": "Uno"})
    assert names(client, filter=f"accountid eq {row_id}") == ["Uno"]
    client.records.delete("account", row_id)
    assert client.records.retrieve("account", row_id) is None


def test_bulk_create_update_delete(client: DataverseClient) -> None:
    ids = client.records.create("account", [{"name": f"Bulk {i}"} for i in range(5)])
    assert len(set(ids)) == 5
    client.records.update("account", ids, {"address1_city": "Turin"})
    client.records.update("account", ids[:2], [{"name": "Bulk X"}, {"name": "Bulk Y"}])
    found = names(client, filter="address1_city eq 'turin'")
    assert found == ["Bulk 2", "Bulk 3", "Bulk 4", "Bulk X", "Bulk Y"]
    client.records.delete("account", ids)
    assert names(client, filter="address1_city eq 'turin'") == []


def test_upsert_by_contact_number(client: DataverseClient) -> None:
    def item(number: str, name: str) -> UpsertItem:
        return UpsertItem(alternate_key={"msdynce_contactnumber": number}, record={"lastname": name})

    client.records.upsert("contact", [item("CON-1", "First")])
    client.records.upsert("contact", [item("CON-1", "Changed"), item("CON-2", "O'Neil")])
    rows = client.records.list("contact", select=["lastname", "msdynce_contactnumber"], orderby=["lastname"])
    assert [(r["msdynce_contactnumber"], r["lastname"]) for r in rows] == [("CON-1", "Changed"), ("CON-2", "O'Neil")]


def test_query_goes_through_all_pages(client: DataverseClient) -> None:
    client.records.create("account", [{"name": f"Page {i}", "numberofemployees": i} for i in range(7)])
    pages = list(client.records.list_pages("account", select=["name"], filter="numberofemployees ge 0", page_size=3))
    assert [len(page) for page in pages] == [3, 3, 1]
    query = client.query.builder("account").select("name").where(col("numberofemployees").between(2, 4))
    assert sorted(row["name"] for row in query.order_by("name").execute()) == ["Page 2", "Page 3", "Page 4"]
    some = client.query.builder("account").select("name").where(col("name").in_(["page 1", "Page 6"]))
    assert sorted(row["name"] for row in some.execute()) == ["Page 1", "Page 6"]


def test_batch_with_a_change_set(client: DataverseClient) -> None:
    batch = client.batch.new()
    with batch.changeset() as changes:
        account = changes.records.create("account", {"name": "Batch"})
        changes.records.create("contact", {"lastname": "Child", "parentcustomerid_account@odata.bind": account})
    batch.records.list("contact", filter="lastname eq 'Child'", select=["lastname", "_parentcustomerid_value"])
    result = batch.execute()
    assert not result.has_errors
    assert [r.status_code for r in result.responses] == [204, 204, 200]
    child = result.responses[2].data["value"][0]
    assert child["_parentcustomerid_value"] == result.responses[0].entity_id


def test_failing_change_set_reports_its_error_and_keeps_nothing(client: DataverseClient) -> None:
    batch = client.batch.new()
    with batch.changeset() as changes:
        changes.records.create("account", {"name": "Lost"})
        changes.records.create("account", {"name": "x" * 161})
    result = batch.execute(continue_on_error=True)
    assert result.has_errors
    assert "maximum allowed length" in result.failed[0].error_message
    assert names(client, filter="name eq 'Lost'") == []


def test_table_metadata(client: DataverseClient) -> None:
    info = client.tables.get("contact")
    assert info is not None
    assert (info["entity_set_name"], info["primary_id_attribute"]) == ("contacts", "contactid")
    assert {"account", "contact", "product"} <= {table["LogicalName"] for table in client.tables.list()}
    keys = client.tables.get_alternate_keys("contact")
    assert [(key.key_attributes, key.status) for key in keys] == [(["msdynce_contactnumber"], "Active")]
    columns = client.tables.list_columns("contact", select=["LogicalName", "AttributeType"])
    assert {"LogicalName": "creditlimit", "AttributeType": "Money"}.items() <= {c["LogicalName"]: c for c in columns}[
        "creditlimit"
    ].items()
    relations = client.tables.list_table_relationships("contact")
    navs = {r.get("ReferencingEntityNavigationPropertyName") for r in relations}
    assert {"parentcustomerid_account", "parentcustomerid_contact"} <= navs


def test_errors_carry_the_services_code(client: DataverseClient) -> None:
    with pytest.raises(HttpError) as caught:
        client.records.create("account", {"name": "A", "accountnumber": "x" * 21})
    assert caught.value.status_code == 400
    assert caught.value.details["service_error_code"] == "0x80044331"
    with pytest.raises(MetadataError):
        client.records.create("nix", {"name": "A"})
