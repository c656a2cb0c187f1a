"""Which tiers requests are forwarded to: their addresses, keys and proxies."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from features.errors import InputError
from pipeline.collect.client import certificates_of_this_machine
from pipeline.endpoint import Endpoint, key_of
from pipeline.schema import TIERS
from pipeline.serve.upstream import Upstream
from pipeline.settings import Settings


def opened(settings: Settings) -> dict[str, Upstream]:
    """The tiers to forward to, by name; {} where no address is configured.

    Raises:
        InputError: an address or a model of a tier is missing, a key is not there, a proxy cannot be used, a caller's
            key would go to two hosts.
    """
    tiers: dict[str, Endpoint] = {tier: getattr(settings.tiers, tier) for tier in TIERS}
    if not any(endpoint.base_url for endpoint in tiers.values()):
        return {}
    for tier, endpoint in tiers.items():
        for field in ("base_url", "model"):
            if getattr(endpoint, field) is None:
                raise InputError(
                    f"tiers.{tier}.{field} is missing: /v1/chat/completions forwards to both tiers or to none; add it "
                    f"to [tiers.{tier}] of the --config file"
                )
    certificates = certificates_of_this_machine()
    # With a token of the service, that is what callers show where their key would stand: it is nothing to the tiers.
    callers_key = settings.serving.token_env is None
    if callers_key:
        _no_key_for_two(tiers)
    found = {}
    for tier, endpoint in tiers.items():
        key, proxy = key_of(endpoint, f"tiers.{tier}"), proxy_of(endpoint.url)
        found[tier] = Upstream(endpoint, proxy, key, certificates, callers_key=callers_key)
    return found


def _no_key_for_two(tiers: Mapping[str, Endpoint]) -> None:
    """See that a caller's key, which is one provider's, is sent to no other one.

    Raises:
        InputError: both tiers would get it, and their hosts differ.
    """
    asked = {tier: endpoint.url for tier, endpoint in tiers.items() if endpoint.key_env is None}
    if len({urlsplit(url).hostname for url in asked.values()}) < 2:
        return
    said = " and ".join(f"tiers.{tier}.base_url = {tiers[tier].base_url!r}" for tier in asked)
    raise InputError(
        f"{said}: both hosts would get the caller's key: give one of the tiers a key_env, or set serving.token_env "
        "where neither takes a key"
    )


def proxy_of(url: str) -> str | None:
    """The proxy that the environment names for an address; None: there is none.

    Raises:
        InputError: HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names what is no HTTP proxy.
    """
    parts = urlsplit(url)
    proxies = getproxies()
    named = proxies.get(parts.scheme) or proxies.get("all")
    if not named or proxy_bypass(parts.netloc):
        return None
    proxy = named if "://" in named else f"http://{named}"
    if not proxy.startswith(("http://", "https://")) or not urlsplit(proxy).hostname:
        raise InputError(
            "the proxy of HTTP_PROXY, HTTPS_PROXY or ALL_PROXY cannot be used: expected one such as http://proxy:3128"
        )
    return proxy
