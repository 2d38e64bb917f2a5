"""Names and addresses beyond ASCII."""


def a_label(domain: str) -> str:
    """`domain` as it goes where no SMTPUTF8 is spoken: labels beyond ASCII as IDNA 2008 writes them (RFC 5891).

    ValueError for one that it does not allow, with the reason.
    """
    if domain.isascii():
        return domain
    import idna  # 20 ms, and most runs have no use for it

    try:
        return idna.encode(domain).decode("ascii")
    except idna.IDNAError as error:
        raise ValueError(str(error)) from error
