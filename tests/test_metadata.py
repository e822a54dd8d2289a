import pytest
from odata_fake import FNO_CSDL, SALES_CSDL, client, error

from p2c_lib.connect.metadata import Lookup, parse_csdl
from p2c_lib.errors import SchemaError, ServiceError


def test_sales_entities_have_keys_types_and_lookups_to_sets():
    contacts = parse_csdl(SALES_CSDL, "sales").entity("contacts")
    assert (contacts.type_name, contacts.key) == ("contact", ("contactid",))
    assert contacts.columns["contactid"].is_key and contacts.columns["contactid"].edm_type == "Edm.Guid"
    assert contacts.lookups == (
        Lookup("_parentcustomerid_value", "parentcustomerid_account", "accounts", "account", "accountid"),
        Lookup("_parentcustomerid_value", "parentcustomerid_contact", "contacts", "contact", "contactid"),
    )


def test_fno_annotations_enums_and_nullability_are_read():
    customers = parse_csdl(FNO_CSDL, "fno").entity("CustomersV2")
    account = customers.columns["CustomerAccount"]
    assert customers.key == ("dataAreaId", "CustomerAccount")
    assert (account.allow_edit, account.allow_edit_on_create, account.required) == (False, True, True)
    assert customers.columns["OnHold"].enum == ("No", "Yes")
    assert customers.columns["OnHold"].edm_type == "Microsoft.Dynamics.DataEntities.NoYes"
    assert not customers.columns["CreditLimit"].nullable and customers.columns["OnHold"].nullable
    assert customers.columns["Since"].attribute == "Date"
    assert customers.lookups == ()  # relations over business columns are no lookups


def test_definitions_add_lengths_places_rights_and_active_keys_only():
    with client("sales", lambda request: error(404, "", "no")) as sales:
        accounts = sales.metadata().entities["accounts"]
    assert accounts.metadata_id == "m-1"
    assert accounts.columns["name"].max_length == 160
    credit = accounts.columns["creditlimit"]
    assert (credit.precision, credit.attribute, credit.allow_edit, credit.allow_edit_on_create) == (
        2,
        "Money",
        False,
        True,
    )
    assert accounts.columns["_transactioncurrencyid_value"].attribute == "Lookup"
    assert not accounts.columns["versionnumber"].allow_edit
    assert accounts.alternate_keys == (("accountnumber",),)


def test_unknown_names_are_answered_with_near_ones():
    metadata = parse_csdl(SALES_CSDL, "sales")
    with pytest.raises(SchemaError, match=r"no entity set 'acounts'; near: accounts"):
        metadata.entity("acounts")
    with pytest.raises(SchemaError, match=r"accounts: no column 'credit_limit'; near: creditlimit"):
        metadata.entity("accounts").column("credit_limit")
    assert "acounts" not in metadata.entities and len(metadata.entities) == 3


@pytest.mark.parametrize("body", [b"<html><p>", b"", b"{}", b"<root/>"])
def test_what_is_no_csdl_is_refused(body):
    with pytest.raises(ServiceError, match=r"\$metadata"):
        parse_csdl(body, "sales")


def test_entities_of_the_document_are_not_expanded_from_outside(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("stolen")
    body = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]>'.encode() + SALES_CSDL.split(b"?>", 1)[1].replace(
        b'Name="isocurrencycode" Type="Edm.String"/>', b'Name="isocurrencycode" Type="Edm.String">&e;</Property>'
    )
    try:
        metadata = parse_csdl(body, "sales")
    except ServiceError:
        return
    assert "stolen" not in repr(metadata.entity("transactioncurrencies"))
