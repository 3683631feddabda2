"""Where a webhook may send: what an address must look like, and which machines are reached when it is used.

Whoever keeps a webhook makes this service open a connection, so an address is never trusted. Names are resolved when a request is sent,
what they resolve to is looked at, and the connection goes to just that: a name that says something else a moment later gains nothing.
"""

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from foundation.errors import Invalid
from foundation.settings import IpNetwork, Settings
from foundation.webhooks.tables import LONGEST_URL

IpAddress = IPv4Address | IPv6Address
SocketAddress = tuple[socket.AddressFamily, tuple[str, int]]

_NAT64 = ip_network("64:ff9b::/96")  # an IPv4 address in its last four bytes
_LAST_PORT = 65_535


class AddressNotAllowed(OSError):
    """The name leads to a machine that webhooks may not reach; which one is not told."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Which machines may be reached: those on the public network, and those that an operator has named.

    ``is_trial``: the index holds nobody real, so that a receiver on this machine may be tried, without TLS too.
    """

    networks: tuple[IpNetwork, ...] = ()
    is_trial: bool = False

    def allows(self, address: IpAddress) -> bool:
        address = _inner(address)
        if any(address.version == network.version and address in network for network in self.networks):
            return True
        if address.is_loopback:
            return self.is_trial
        return address.is_global and not address.is_multicast

    def addresses_of(self, host: str, port: int) -> list[SocketAddress]:
        """Resolve a name to what may be connected to.

        Raises:
            AddressNotAllowed: some of what it resolves to may not be reached: then none of it is.
            OSError: it does not resolve.
        """
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for *_, where in found:
            if not self.allows(ip_address(str(where[0]).split("%")[0])):
                raise AddressNotAllowed
        return [(family, (str(where[0]), int(where[1]))) for family, _, _, _, where in found]

    def check(self, url: str) -> str:
        """Return an address that a webhook may have.

        Raises:
            Invalid: ``url-format``, ``url-credentials``, ``url-scheme`` (https, but for this machine on trial), ``url-address``.
        """
        if (
            len(url) > LONGEST_URL
            or not url.isascii()
            or not url.isprintable()
            or set(url) & set(' "<>\\^`{|}')
        ):
            raise Invalid("url-format", field="url")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise Invalid("url-format", field="url") from None
        if not host or parts.fragment or "#" in url or port == 0:
            raise Invalid("url-format", field="url")
        if parts.username is not None or parts.password is not None:
            raise Invalid("url-credentials", field="url")
        address = _literal(host)
        is_here = host == "localhost" or (address is not None and address.is_loopback)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_here and self.is_trial):
            raise Invalid("url-scheme", field="url")
        if address is not None and not self.allows(address):
            raise Invalid("url-address", field="url")
        return url


def reach_of(settings: Settings) -> Reach:
    return Reach(settings.webhook_networks, is_trial=not settings.is_production)


def shown(url: str) -> str:
    """Return an address for a log: without its query, which may hold a key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _literal(host: str) -> IpAddress | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _inner(address: IpAddress) -> IpAddress:
    """Return the IPv4 address that an IPv6 one stands for."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address
