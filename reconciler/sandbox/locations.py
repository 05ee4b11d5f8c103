"""Many locations at one address: a request goes to the one that its token is good for. Pure, as `app` is.

    locations = Locations([App(world, accesses=[Access(sandbox_token(world.location))]) for world in worlds])

Rules
1. A location has its own world, tokens, limits and network: a request to one takes nothing from another, and changes
   nothing there.
2. A token is of one location. What it asks of another one is refused as foreign, as is a contact that lives there.
3. An agency's token goes to the location that the form of its exchange names.
4. With several locations, a token that none of them knows gets 401 without the limits of any.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol
from urllib.parse import parse_qs

from reconciler.core.model.names import Instant, LocationId
from reconciler.sandbox.app import NO_TOKEN, App, bearer_token
from reconciler.sandbox.messages import Delivery, Request, error_response


class Network(Protocol):
    """Carries requests to one location and answers back; the tests' own loses some of them on the way."""

    @property
    def app(self) -> App: ...

    def handle(self, request: Request, now: Instant) -> Delivery: ...


class FaultlessNetwork:
    """Every answer arrives."""

    def __init__(self, app: App) -> None:
        self.app = app

    def handle(self, request: Request, now: Instant) -> Delivery:
        return Delivery(self.app.handle(request, now))


class Locations:
    """The locations behind one address; ValueError where two are the same one, or have the same token."""

    def __init__(self, networks: Iterable[Network | App]) -> None:
        behind = [FaultlessNetwork(network) if isinstance(network, App) else network for network in networks]
        self._networks = {network.app.world.location: network for network in behind}
        self._of_token = {token: network for network in behind for token in network.app.tokens}
        if len(self._networks) < len(behind) or len(self._of_token) < sum(len(each.app.tokens) for each in behind):
            raise ValueError("two locations have the same id or the same token")
        if not behind:
            raise ValueError("no location")
        worlds = [network.app.world for network in behind]
        for world in worlds:
            world.settle_beside([neighbour for neighbour in worlds if neighbour is not world])

    @property
    def networks(self) -> Mapping[LocationId, Network]:
        """Each with the id of its location; not to be changed."""
        return self._networks

    def at(self, location: str = "") -> Network:
        """The network of a location; without its id that of the only one. Raises KeyError, and ValueError for many."""
        if location:
            return self._networks[LocationId(location)]
        (only,) = self._networks.values()
        return only

    def handle(self, request: Request, now: Instant) -> Delivery:
        """The answer, if any, of the location that the token is good for."""
        if len(self._networks) == 1:
            return self.at().handle(request, now)
        token = bearer_token(request)
        network = self._of_token.get(token) or self._find_exchanged(token, now)
        if network is not None:
            return network.handle(request, now)
        return self._handle_agency(token, request, now)

    def _find_exchanged(self, token: str, now: Instant) -> Network | None:
        """The location whose token was issued in an exchange."""
        exchanges = ((network, network.app.exchange) for network in self._networks.values())
        return next((network for network, exchange in exchanges if exchange and exchange.is_good(token, now)), None)

    def _handle_agency(self, token: str, request: Request, now: Instant) -> Delivery:
        """The answer to a token of an agency, or to one that is none."""
        exchanges = ((network, network.app.exchange) for network in self._networks.values())
        of_agency = [network for network, exchange in exchanges if exchange and exchange.agency.token == token]
        if not of_agency:
            return Delivery(error_response(401, NO_TOKEN))
        named = parse_qs(request.body.decode("utf-8", "replace")).get("locationId", [""])[0]
        # any of them refuses a wrong form, or a location that the agency does not have
        network = next((network for network in of_agency if network.app.world.location == named), of_agency[0])
        return network.handle(request, now)
