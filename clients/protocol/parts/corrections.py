"""The register of corrections of local training: a new one is imported and joined here."""

from typing import Annotated

from pydantic import Discriminator

from everymode.clients.protocol.parts import control_variates, feddyn, fednova, proximal

LocalCorrection = Annotated[
    proximal.Proximal | control_variates.ControlVariates | feddyn.FedDyn | fednova.FedNova,
    Discriminator("kind"),
]
