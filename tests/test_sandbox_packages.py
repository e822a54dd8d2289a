"""Data packages of Finance and Operations over HTTP: files, states, errors and the ways in which they go wrong."""

from __future__ import annotations

import csv
import io
import json
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from decimal import Decimal
from typing import Any
from xml.sax.saxutils import escape

import httpx
import pytest
from test_sandbox_fno import reference

from p2c_lib.sandbox.knobs import settings
from p2c_lib.sandbox.schema import load_schema
from p2c_lib.sandbox.serve import build_app
from p2c_lib.sandbox.store import Store
from serving import serve

NS = "http://schemas.microsoft.com/dynamics/2015/01/DataManagement"
ACTIONS = "/data/DataManagementDefinitionGroups/Microsoft.Dynamics.DataEntities."
ENDED = {"Succeeded", "PartiallySucceeded", "Failed", "Canceled"}
NAMES = ["CUSTOMERACCOUNT", "ORGANIZATIONNAME", "CUSTOMERGROUPID", "CREDITLIMIT"]
GOOD = ["C-1", "Mill", "10", "5"]


def manifest(
    label: str, names: Sequence[str], *, kind: str = "CSV-Unicode", file: str = "data.csv", ns: str = NS, more: str = ""
) -> str:
    maps = "".join(
        f"<EntityMap><EntityField>{name}</EntityField><XMLField>{name}</XMLField></EntityMap>" for name in names
    )
    return (
        f'<DataManagementPackageManifest xmlns="{ns}"><DefinitionGroupName>load</DefinitionGroupName>'
        f"<PackageEntityList><DataManagementPackageEntityData><EntityMapList>{maps}{more}</EntityMapList>"
        f"<EntityName>{escape(label)}</EntityName><InputFilePath>{file}</InputFilePath><SourceFormat>{kind}"
        "</SourceFormat></DataManagementPackageEntityData></PackageEntityList></DataManagementPackageManifest>"
    )


HEADER = (
    f'<DataManagementPackageHeader xmlns="{NS}"><PackageType>DefinitionGroup</PackageType>'
    "</DataManagementPackageHeader>"
)

XML = {"PackageHeader.xml": HEADER, "Manifest.xml": manifest("Customers V2", NAMES), "data.csv": b""}


def table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows([names, *rows])
    return b"\xff\xfe" + text.getvalue().encode("utf-16-le")


def package(files: Mapping[str, bytes | str]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content.encode("utf-16") if isinstance(content, str) else content)
    return data.getvalue()


def customers(rows: Sequence[Sequence[Any]], names: Sequence[str] = NAMES, label: str = "Customers V2") -> bytes:
    return package({**XML, "Manifest.xml": manifest(label, names), "data.csv": table(names, rows)})


class Dmf:
    """A client of the actions, written without the library's own."""

    def __init__(self, url: str, store: Store) -> None:
        self.url, self.store = url, store
        self.http = httpx.Client(base_url=url, timeout=30, trust_env=False)
        self.blobs = httpx.Client(timeout=30, trust_env=False)  # sends no token

    def act(self, name: str, **given: Any) -> Any:
        answer = self.http.post(ACTIONS + name, json=given)
        assert answer.status_code == 200, answer.text
        return answer.json()["value"]

    def refused(self, name: str, **given: Any) -> str:
        answer = self.http.post(ACTIONS + name, json=given)
        assert answer.status_code == 400, answer.text
        return str(answer.json()["error"]["innererror"]["message"])

    def upload(self, data: bytes, name: str = "p.zip") -> str:
        url = json.loads(self.act("GetAzureWriteUrl", uniqueFileName=name))["BlobUrl"]
        assert self.blobs.put(url, content=data, headers={"x-ms-blob-type": "BlockBlob"}).status_code == 201
        return str(url)

    def wishes(self, url: str, execution: str, **changes: Any) -> dict[str, Any]:
        plain = {"packageUrl": url, "definitionGroupId": "load", "executionId": execution, "execute": True}
        return {**plain, "overwrite": True, "legalEntityId": "USMF", **changes}

    def load(self, data: bytes, execution: str = "run-1", *, action: str = "ImportFromPackage", **changes: Any) -> str:
        assert self.act(action, **self.wishes(self.upload(data), execution, **changes)) == execution
        return self.ended(execution)

    def ended(self, execution: str) -> str:
        deadline = time.monotonic() + 30
        while (state := self.act("GetExecutionSummaryStatus", executionId=execution)) not in ENDED:
            assert time.monotonic() < deadline, state
            time.sleep(0.02)
        return str(state)

    def errors(self, execution: str = "run-1") -> dict[str, str]:
        said = json.loads(self.act("GetExecutionErrors", executionId=execution))
        return {one["RecordId"]: one["ErrorMessage"] for one in said}

    def rows(self, entity: str = "CustomersV2") -> dict[str, dict[str, Any]]:
        answer = self.http.get(f"/data/{entity}")
        return {row.get("CustomerAccount", ""): row for row in json.loads(answer.content, parse_float=Decimal)["value"]}


Start = Callable[..., Dmf]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(**knobs: Any) -> Dmf:
            store = Store(tmp_path_factory.mktemp("fno") / "fno.sqlite", load_schema("fno"))
            reference(store)
            dmf = Dmf(stack.enter_context(serve(build_app("fno", store, settings(**knobs)))), store)
            stack.callback(store.close)
            stack.callback(dmf.http.close)
            stack.callback(dmf.blobs.close)
            return dmf

        yield begin


@pytest.fixture(scope="module")
def shared(start: Start) -> Dmf:
    return start()


@pytest.fixture
def dmf(shared: Dmf) -> Dmf:
    """The shared service without customers and executions."""
    with shared.store.transaction() as t:
        for entity in ("CustomersV2", "CDSParties"):
            t.connection.execute(t.table(entity).delete())
    return shared


@pytest.fixture
def run(request: pytest.FixtureRequest) -> str:
    return request.node.name


def test_a_package_is_loaded_from_end_to_end(dmf: Dmf, run: str) -> None:
    assert dmf.load(customers([GOOD, ["", "no number", "10", "1"]]), run) == "PartiallySucceeded"
    row = dmf.rows()["C-1"]
    assert (row["OrganizationName"], row["CreditLimit"], row["SalesCurrencyCode"]) == ("Mill", 5, "USD")
    assert row["PartyNumber"] and row["NameAlias"] == "Mill"  # defaults and number sequences as over OData
    assert len(dmf.rows()) == 1  # no number sequence without IsAutoGenerated


def test_a_row_that_is_refused_keeps_no_other_back_and_is_named_in_the_error_files(dmf: Dmf, run: str) -> None:
    rows = [GOOD, ["C-2", "bad number", "10", "lots"], ["C-3", "bad group", "77", "1"], ["C-1", "again", "10", "1"]]
    assert dmf.load(customers(rows), run) == "PartiallySucceeded"
    assert list(dmf.rows()) == ["C-1"] and dmf.rows()["C-1"]["OrganizationName"] == "Mill"
    said = dmf.errors(run)
    assert "'lots'" in said["C-2"] and "already exists" in said["C-1"]
    assert "The value '77' in field 'Customer group' is not found in the related table 'Customer groups'" in said["C-3"]
    of = {"executionId": run, "entityName": "Customers V2"}
    staging = dmf.blobs.get(dmf.act("GetImportStagingErrorFileUrl", **of)).content.decode("utf-16")
    assert [line[:2] for line in csv.reader(io.StringIO(staging))][1:] == [["C-2", "bad number"], ["C-1", "again"]]
    assert dmf.act("GetImportTargetErrorKeysFileUrl", **of) == ""  # nobody asked for it to be made
    assert dmf.act("GenerateImportTargetErrorKeysFile", **of) is True
    assert dmf.act("GetImportTargetErrorKeysFileUrl", **of) == ""  # it is being made
    keys = dmf.blobs.get(dmf.act("GetImportTargetErrorKeysFileUrl", **of)).content.decode("utf-16")
    assert list(csv.reader(io.StringIO(keys))) == [["CUSTOMERACCOUNT"], ["C-3"]]
    details = dmf.http.get(f"/data/DataManagementExecutionJobDetails?$filter=JobId eq '{run}'").json()["value"]
    assert [(one["TargetRecordsCreatedCount"], one["TargetRecordsErrorCount"]) for one in details] == [(1, 1)]


def test_nothing_written_is_a_failure_and_nothing_wrong_has_no_files(dmf: Dmf, run: str) -> None:
    assert dmf.load(customers([["C-3", "x", "77", "1"]]), f"{run}-1") == "Failed"
    assert dmf.load(customers([GOOD]), f"{run}-2") == "Succeeded"
    of = {"executionId": f"{run}-2", "entityName": "Customers V2"}
    assert dmf.act("GenerateImportTargetErrorKeysFile", **of) is False
    assert dmf.act("GetImportTargetErrorKeysFileUrl", **of) == dmf.act("GetImportStagingErrorFileUrl", **of) == ""
    assert dmf.act("GetExecutionErrors", executionId=f"{run}-2") == "[]"


def test_a_package_overwrites_a_row_that_is_there_and_leaves_its_other_columns(dmf: Dmf, run: str) -> None:
    dmf.load(customers([["C-1", "Mill", "10", "5", "Oslo"]], [*NAMES, "ADDRESSCITY"]), f"{run}-1")
    before = dmf.rows()["C-1"]
    assert dmf.load(customers([["c-1", "New", "10", "6"]]), f"{run}-2") == "Succeeded"
    after = dmf.rows()["C-1"]
    assert (after["OrganizationName"], after["CreditLimit"], after["AddressCity"]) == ("New", 6, "Oslo")
    assert after["@odata.etag"] != before["@odata.etag"] and after["PartyNumber"] == before["PartyNumber"]
    details = dmf.http.get("/data/DataManagementExecutionJobDetails").json()["value"][-1]
    assert (details["TargetRecordsCreatedCount"], details["TargetRecordsUpdatedCount"]) == (0, 1)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        pytest.param({"PackageHeader.xml": None}, "Could not find file 'PackageHeader.xml'", id="no header"),
        pytest.param({"Manifest.xml": None}, "Could not find file 'Manifest.xml'", id="no manifest"),
        pytest.param({"Manifest.xml": "<half"}, "There is an error in XML document", id="half a manifest"),
        pytest.param(
            {"Manifest.xml": manifest("Customers V2", NAMES, ns="urn:other")},
            "Expecting element 'DataManagementPackageManifest' from namespace",
            id="other namespace",
        ),
        pytest.param(
            {"Manifest.xml": manifest("CustomersV2", NAMES)},
            "Entity CustomersV2 does not exist in the target environment",
            id="set instead of label",
        ),
        pytest.param(
            {"Manifest.xml": manifest("Customers V2", [*NAMES, "SHOESIZE"])}, "and field SHOESIZE", id="unknown column"
        ),
        pytest.param(
            {"Manifest.xml": manifest("Customers V2", [*NAMES, "ADDRESSCITY"])},
            "The mapping is incorrect for entity Customers V2 and field ADDRESSCITY",
            id="column is not in the file",
        ),
        pytest.param({"data.csv": table(NAMES, [GOOD]).replace(b"\r\x00", b"")}, "and field {", id="LF alone"),
        pytest.param({"Manifest.xml": manifest("Customers V2", NAMES, kind="EXCEL")}, "'EXCEL'", id="other format"),
    ],
)
def test_a_package_that_cannot_be_read_is_refused_when_it_is_imported(
    dmf: Dmf, run: str, files: dict[str, Any], words: str
) -> None:
    whole = {**XML, "data.csv": table(NAMES, [GOOD]), **files}
    url = dmf.upload(package({name: content for name, content in whole.items() if content is not None}))
    assert words in dmf.refused("ImportFromPackage", **dmf.wishes(url, run))
    assert "were not found" in dmf.refused("GetExecutionSummaryStatus", executionId=run)  # the name is free again
    assert dmf.rows() == {}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"data.csv": None}, "Could not find file 'data.csv'", id="no data file"),
        pytest.param({"data.csv": b"CUSTOMERACCOUNT\r\nC-1\r\n"}, "Selected file is not Unicode", id="UTF-8"),
    ],
)
def test_a_data_file_that_cannot_be_read_fails_the_execution(
    dmf: Dmf, run: str, changes: dict[str, Any], words: str
) -> None:
    whole = {**XML, **changes}
    assert dmf.load(package({name: data for name, data in whole.items() if data is not None}), run) == "Failed"
    assert words in dmf.errors(run)[""]


def test_a_manifest_without_a_field_map_does_nothing_and_says_that_it_succeeded(dmf: Dmf, run: str) -> None:
    files = {**XML, "Manifest.xml": manifest("Customers V2", []), "data.csv": table(NAMES, [GOOD])}
    assert dmf.load(package(files), run) == "Succeeded"
    assert dmf.rows() == {}


def test_what_an_import_is_told_is_checked(dmf: Dmf, run: str) -> None:
    data = customers([GOOD])
    url = dmf.upload(data)
    cut = dmf.upload(data[: len(data) // 2], "cut.zip")
    assert "End of Central Directory" in dmf.refused("ImportFromPackage", **dmf.wishes(cut, run))
    wrong = dmf.refused("ImportFromPackage", **dmf.wishes(url, run, legalEntityId="XXXX"))
    assert "Legal entity 'XXXX' does not exist" in wrong
    for bad in (url.replace("sig=", "sig=x"), url.replace("/dmf/p.zip", "/dmf/q.zip")):
        assert "(403) Forbidden" in dmf.refused("ImportFromPackage", **dmf.wishes(bad, run))
    missing = json.loads(dmf.act("GetAzureWriteUrl", uniqueFileName="never"))["BlobUrl"]
    assert "(404) Not Found" in dmf.refused("ImportFromPackage", **dmf.wishes(missing, run))
    assert "(404) Not Found" in dmf.refused("ImportFromPackage", **dmf.wishes("https://elsewhere.example/x", run))
    wishes = dmf.wishes(url, run)
    assert "'overwrite'" in dmf.refused("ImportFromPackage", **{k: v for k, v in wishes.items() if k != "overwrite"})
    assert "'execute'" in dmf.refused("ImportFromPackage", **{**wishes, "execute": "yes"})
    assert "'more'" in dmf.refused("ImportFromPackage", **wishes, more=1)
    assert dmf.act("ImportFromPackage", **wishes) == run
    assert "already in use" in dmf.refused("ImportFromPackage", **wishes)  # a name is good for one import
    again = dmf.refused("ImportFromPackage", **{**wishes, "executionId": f"{run}-2", "overwrite": False})
    assert "record already exists" in again  # the data project has this entity already
    named = dmf.act("ImportFromPackage", **{**wishes, "executionId": "", "legalEntityId": ""})
    assert named.startswith("load-")  # the service finds a name, and takes the user's company
    assert dmf.ended(run) == dmf.ended(named) == "Succeeded"


def test_an_import_that_is_not_to_be_executed_waits(dmf: Dmf, run: str) -> None:
    dmf.act("ImportFromPackage", **dmf.wishes(dmf.upload(customers([GOOD])), run, execute=False))
    time.sleep(0.1)
    assert dmf.act("GetExecutionSummaryStatus", executionId=run) == "NotRun"
    assert dmf.rows() == {}


def test_an_asynchronous_import_tells_what_is_wrong_with_the_package_by_its_state(dmf: Dmf, run: str) -> None:
    assert dmf.load(customers([GOOD]), f"{run}-1", action="ImportFromPackageAsync") == "Succeeded"
    assert dmf.load(customers([GOOD], label="Clients"), f"{run}-2", action="ImportFromPackageAsync") == "Failed"
    assert "Entity Clients does not exist" in dmf.errors(f"{run}-2")[""]


def test_xml_files_are_read_too_and_an_absent_element_is_not_blank(dmf: Dmf, run: str) -> None:
    names = ["CUSTOMERACCOUNT", "ORGANIZATIONNAME", "CUSTOMERGROUPID", "SALESCURRENCYCODE"]
    fields = "".join(
        f"<{name}>{value}</{name}>" for name, value in zip(names, ["X-1", "A &amp; B", "10"], strict=False)
    )
    attributes = 'CUSTOMERACCOUNT="X-2" ORGANIZATIONNAME="C" CUSTOMERGROUPID="10" SALESCURRENCYCODE="EUR"'
    for kind, row in (("XML-Element", f"<R>{fields}</R>"), ("XML-Attribute", f"<R {attributes}/>")):
        xml = manifest("Customers V2", names, kind=kind, file="data.xml")
        files = {**XML, "Manifest.xml": xml, "data.xml": f"<Document>{row}</Document>".encode()}
        assert dmf.load(package(files), f"{run}-{kind}") == "Succeeded"
    found = dmf.rows()
    assert (found["X-1"]["OrganizationName"], found["X-1"]["SalesCurrencyCode"]) == ("A & B", "USD")
    assert found["X-2"]["SalesCurrencyCode"] == "EUR"


def test_values_of_every_type_are_read_exactly_or_refused(dmf: Dmf, run: str) -> None:
    names = [*NAMES, "PERSONANNIVERSARYYEAR", "ISFUELSURCHARGEAPPLIED", "ADDRESSVALIDTO"]
    good = ["C-1", "x" * 61, "10", "9007199254740993.000001", "-5", "yes", "2026-02-28T10:00:00Z"]
    bad = [["1e3", "1", "No", ""], ["1", "1.5", "No", ""], ["1", "1", "Perhaps", ""], ["1", "1", "No", "2026-02-30"]]
    rows = [good, ["C-2", "blank", "10", "", "", "", ""]]
    rows += [[f"B-{at}", "b", "10", *values] for at, values in enumerate(bad)]
    assert dmf.load(customers(rows, names), run) == "PartiallySucceeded"
    found, blank = dmf.rows()["C-1"], dmf.rows()["C-2"]
    assert found["CreditLimit"] == Decimal("9007199254740993.000001")
    assert (found["PersonAnniversaryYear"], found["IsFuelSurchargeApplied"]) == (-5, "Yes")
    assert found["AddressValidTo"] == "2026-02-28T10:00:00Z"
    assert (blank["CreditLimit"], blank["IsFuelSurchargeApplied"]) == (0, "No")
    assert blank["AddressValidTo"] == "1900-01-01T00:00:00Z"
    assert sorted(dmf.errors(run)) == ["B-0", "B-1", "B-2", "B-3"]


def test_a_number_sequence_fills_what_the_map_says_is_generated(dmf: Dmf, run: str) -> None:
    more = (
        "<EntityMap><EntityField>CUSTOMERACCOUNT</EntityField><IsAutoGenerated>true</IsAutoGenerated>"
        "<XMLField>CUSTOMERACCOUNT</XMLField></EntityMap>"
    )
    xml = manifest("Customers V2", NAMES[1:], more=more)
    data = table(NAMES, [["", "first", "10", "1"], ["", "second", "10", "1"]])
    assert dmf.load(package({**XML, "Manifest.xml": xml, "data.csv": data}), run) == "Succeeded"
    assert [key[:4] for key in dmf.rows()] == ["CUS-", "CUS-"]


def test_blobs_come_whole_or_in_blocks_and_azure_refuses_in_its_own_words(dmf: Dmf, run: str) -> None:
    url = json.loads(dmf.act("GetAzureWriteUrl", uniqueFileName="../../b l o b"))["BlobUrl"]
    data = customers([GOOD])
    plain = dmf.blobs.put(url, content=data)
    assert (plain.status_code, plain.headers["x-ms-error-code"]) == (400, "MissingRequiredHeader")
    for at, block in enumerate(("YQ==", "Yg==")):
        half = data[at * 100 : None if at else 100]
        assert dmf.blobs.put(f"{url}&comp=block&blockid={block}", content=half).status_code == 201
    listing = "<BlockList><Latest>YQ==</Latest><Latest>{}</Latest></BlockList>"
    unknown = dmf.blobs.put(f"{url}&comp=blocklist", content=listing.format("Yw=="))
    assert (unknown.status_code, unknown.headers["x-ms-error-code"]) == (400, "InvalidBlockList")
    assert dmf.blobs.put(f"{url}&comp=blocklist", content=listing.format("Yg==")).status_code == 201
    assert dmf.blobs.get(url).content == data
    assert dmf.act("ImportFromPackage", **dmf.wishes(url, run)) == run
    assert dmf.ended(run) == "Succeeded"
    read_only = url.replace("sp=rw", "sp=r")
    assert dmf.blobs.put(read_only, content=b"x").status_code == 403


def test_addresses_end_and_blobs_need_no_token_where_all_else_does(start: Start) -> None:
    dmf = start(blob_lifetime_s=0.3, require_token=True)
    assert dmf.http.post(ACTIONS + "GetAzureWriteUrl", json={"uniqueFileName": "x"}).status_code == 401
    token = dmf.blobs.post(f"{dmf.url}/sandbox/token").json()["access_token"]
    dmf.http.headers["Authorization"] = f"Bearer {token}"
    url = dmf.upload(customers([GOOD]))
    time.sleep(0.4)
    late = dmf.blobs.put(url, content=b"x", headers={"x-ms-blob-type": "BlockBlob"})
    assert (late.status_code, late.headers["x-ms-error-code"]) == (403, "AuthenticationFailed")
    assert "(403) Forbidden" in dmf.refused("ImportFromPackage", **dmf.wishes(url, "late"))


def test_executions_take_their_time_one_after_the_other_and_can_be_canceled(start: Start) -> None:
    dmf = start(package_start_s=0.3, package_row_s=0.0005, limits={"fno": {"requests": 1, "window_s": 300}})
    rows = [[f"{at:05}", "x", "10", "1"] for at in range(600)]
    urls = [dmf.upload(customers([[f"{name}{row[0]}", *row[1:]] for row in rows]), name) for name in "ABC"]
    for name, url in zip("ABC", urls, strict=True):
        assert dmf.act("ImportFromPackage", **dmf.wishes(url, name)) == name
    assert {dmf.act("GetExecutionSummaryStatus", executionId=name) for name in "ABC"} == {"NotRun"}
    seen = set()
    while (state := dmf.act("GetExecutionSummaryStatus", executionId="A")) not in ENDED:
        seen.add(state)
        time.sleep(0.01)
    assert seen == {"NotRun", "Executing"} and state == "Succeeded"
    assert dmf.act("GetExecutionSummaryStatus", executionId="C") == "NotRun"  # its turn comes after B's
    assert dmf.blobs.post(f"{dmf.url}/sandbox/packages", json={"cancel": "C"}).json()["canceled"]
    assert (dmf.ended("B"), dmf.ended("C")) == ("Succeeded", "Canceled")
    with dmf.store.read() as t:  # the limits of users, which packages do not count against, leave one other request
        names = [row["CustomerAccount"] for row in t.rows(t.table("CustomersV2").select())]
    assert len(names) == 1200 and not any(name.startswith("C") for name in names)


def test_a_second_import_call_at_the_same_time_is_refused(dmf: Dmf, run: str) -> None:
    urls = [dmf.upload(customers([[f"{at}-{n}", "x", "10", "1"] for n in range(1500)]), f"{at}") for at in range(4)]
    answers: dict[str, httpx.Response] = {}

    def call(name: str, url: str) -> None:
        answers[name] = dmf.blobs.post(dmf.url + ACTIONS + "ImportFromPackage", json=dmf.wishes(url, name), timeout=30)

    threads = [threading.Thread(target=call, args=(f"{run}-{at}", url)) for at, url in enumerate(urls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = [name for name, answer in answers.items() if answer.status_code == 200]
    refused = [answer.text for answer in answers.values() if answer.status_code == 400]
    assert done and len(done) + len(refused) == 4
    assert all("An update conflict occurred" in text for text in refused)
    assert {dmf.ended(name) for name in done} == {"Succeeded"}


def test_an_export_gives_a_package_that_can_be_imported_again(dmf: Dmf, run: str) -> None:
    wishes = {"definitionGroupId": "load", "packageName": "out", "executionId": run, "reExecute": True}
    assert "does not exist" in dmf.refused(
        "ExportToPackage", **{**wishes, "definitionGroupId": "none"}, legalEntityId="usmf"
    )
    dmf.load(customers([["C-1", 'שלום\n"x"', "10", "12345678901234567.89"]]), f"{run}-in")
    before = dmf.rows()["C-1"]
    assert dmf.act("ExportToPackage", **wishes, legalEntityId="usmf") == run
    data = dmf.blobs.get(dmf.act("GetExportedPackageUrl", executionId=run)).content
    with dmf.store.transaction() as t:
        t.connection.execute(t.table("CustomersV2").delete())
    assert dmf.load(data, f"{run}-again") == "Succeeded"
    after = dmf.rows()["C-1"]
    assert {k: v for k, v in after.items() if "@" not in k} == {k: v for k, v in before.items() if "@" not in k}


def test_faults_strike_packages_like_all_else(dmf: Dmf, run: str) -> None:
    url = dmf.upload(customers([GOOD]))
    rule = {"kind": "error", "path": "ImportFromPackage", "first": 1, "done": True, "status": 503}
    dmf.blobs.post(f"{dmf.url}/sandbox/faults", json=[rule])
    assert dmf.http.post(ACTIONS + "ImportFromPackage", json=dmf.wishes(url, run)).status_code == 503
    assert dmf.ended(run) == "Succeeded"  # it was done all the same, under the name that was given
    dmf.blobs.delete(f"{dmf.url}/sandbox/faults")


def test_what_may_not_be_written_is_refused_row_by_row(start: Start) -> None:
    dmf = start(denied=[{"system": "fno", "entity": "CustomersV2", "verb": "create"}])
    assert dmf.load(customers([GOOD])) == "Failed"
    assert "Access denied" in dmf.errors()["C-1"]
    rows = customers([["P-1"]], ["PRODUCTNUMBER"], label="Sellable released products")
    assert dmf.load(rows, "run-2") == "Failed"
    assert "read-only" in dmf.errors("run-2")["P-1"]
