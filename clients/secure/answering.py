"""The steps of secure summation at a site. What does not fit is refused, before anything leaves."""

import hashlib
import secrets
from collections.abc import Iterable, Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from everymode.clients.gate.admission import Admission
from everymode.clients.gate.inputs import digest_for
from everymode.clients.protocol.messages import Request
from everymode.clients.protocol.refusal import RefusedError, named, readable
from everymode.clients.protocol.sums import Layout, SiteSums
from everymode.clients.secure import state
from everymode.clients.secure.graph import FEWEST
from everymode.clients.secure.masks import (
    Ints,
    add_mask,
    derive_channel,
    derive_key,
    derive_pair_seed,
    pair_sign,
    public_key,
)
from everymode.clients.secure.shamir import SECRET, split_secret
from everymode.clients.secure.signing import Claim, check_claims, sign
from everymode.clients.secure.state import Attempt, Session
from everymode.clients.secure.steps import (
    AnswerMasked,
    AttemptShares,
    Ended,
    EndSession,
    Keys,
    MakeKeys,
    MakeShares,
    Revealed,
    Said,
    SiteList,
    Step,
    Unmask,
)
from everymode.clients.site import Site
from everymode.clients.tasks.dispatch import served
from everymode.wgan.errors import EveryModeError, NumericalError

OWN, KEY = "own mask", "mask key"
"""What a share is of."""

NONCE = 12


def take_step(step: Step, site: Site, request: Request | None = None) -> Said | SiteSums:
    """What a site says to a step; to `AnswerMasked` its masked sums.

    Raises:
        RefusedError: The step does not fit what came before; the site is named.
        DataError, NumericalError, StateError: As an answer without masks.
    """
    match step:
        case AnswerMasked():
            return _answer(step, site, request)
        case _:
            try:
                return _said(step, site)
            except RefusedError as error:
                raise RefusedError(named(error.problems, [site.name])) from None


def take_steps(
    steps: Mapping[str, Step], request: Request, sites: Iterable[Site]
) -> dict[str, Said | SiteSums | EveryModeError]:
    """What the sites of a node say to their steps; what a site refuses is its own failure.

    Raises:
        RefusedError: A site has no step, or a step no site.
    """
    found = {site.name: site for site in sites}
    if found.keys() != steps.keys():
        raise RefusedError("steps of secure summation for other sites than are asked")
    said: dict[str, Said | SiteSums | EveryModeError] = {}
    for name, step in steps.items():
        try:
            said[name] = take_step(step, found[name], request.only((name,)))
        except EveryModeError as error:
            said[name] = error
    return said


def _said(step: MakeKeys | MakeShares | Unmask | EndSession, site: Site) -> Said:
    match step:
        case MakeKeys():
            return make_keys(step, site)
        case MakeShares():
            session = state.find_session(site, step.session)
            if step.site_list is not None:
                session = accept_site_list(step.site_list, session, site)
            return make_shares(session, step.attempt, site)
        case Unmask():
            return open_masks(step, site)
        case EndSession():
            state.forget_session(site, step.session)
            return Ended(step.session)


def check_count(sites: int) -> None:
    """Refuses sums of so few sites that one of them learns another's part."""
    if sites < FEWEST:
        raise RefusedError(
            f"secure summation over {sites} sites: each would know the other's part from the sum "
            f"and its own; it takes {FEWEST} sites at least"
        )


def make_keys(step: MakeKeys, site: Site) -> Keys:
    """Begins a session with a fresh key, under which shares will come.

    Sessions that this one supersedes, and those that nobody ended, are forgotten.
    """
    check_count(step.sites)
    if state.has_session(site, step.session):
        raise RefusedError(f"session {step.session} has been begun already; each is begun once")
    state.forget_old_sessions(site, step.run)
    private = secrets.token_bytes(SECRET)
    state.keep_session(site, Session(step.session, step.run, private))
    channel = public_key(private).hex()
    text = keys_text(step.run, step.session, site.name, channel)
    return Keys(site.name, channel, sign(site, text))


def keys_text(run: str, session: str, name: str, channel: str) -> str:
    """What a site signs of its keys."""
    return f"everymode secure summation keys {run} {session} {channel} {name}"


def mask_text(scope: str, attempt: str, name: str, mask: str, commitment: str) -> str:
    """What a site signs of an attempt."""
    return f"everymode secure summation mask {scope} {attempt} {mask} {commitment} {name}"


def accept_site_list(site_list: SiteList, session: Session, site: Site) -> Session:
    """Takes the list of all sites, once every signature was checked.

    Raises:
        RefusedError: A signature is wrong, the site is not among them, or masks would be weak.
    """
    if session.site_list == site_list:
        return session
    if session.site_list is not None:
        raise RefusedError(f"session {session.name} has a list of sites already")
    names = site_list.names
    check_count(len(names))
    if list(names) != sorted(set(names)) or site.name not in names:
        raise RefusedError("the list of sites is not in order, or lacks this site")
    own = public_key(session.channel).hex()
    if any(keys.name == site.name and keys.channel != own for keys in site_list.keys):
        raise RefusedError("the list of sites has another key of this site")
    check_claims(
        site,
        [
            Claim(k.name, keys_text(session.run, session.name, k.name, k.channel), k.signature)
            for k in site_list.keys
            if k.name != site.name
        ],
    )
    session = session.with_site_list(site_list)
    _, holding = session.agreed(site)
    if not len(holding) / 2 < site_list.threshold <= len(holding):
        raise RefusedError(
            f"a threshold of {site_list.threshold} (secure.threshold), where each site's secrets "
            f"are shared among {len(holding)}; expected more than half of them, and at most all"
        )
    state.keep_session(site, session)
    return session


def make_shares(session: Session, attempt: str, site: Site) -> AttemptShares:
    """Draws the secrets of an attempt and shares them among the site's neighbours and itself."""
    if state.has_attempt(site, session.name, attempt):
        raise RefusedError(f"attempt {attempt} has been prepared already; each is prepared once")
    site_list, holding = session.agreed(site)
    secret = Attempt(secrets.token_bytes(SECRET), secrets.token_bytes(SECRET))
    channels = {keys.name: bytes.fromhex(keys.channel) for keys in site_list.keys}
    sealed: list[dict[str, str]] = []
    for what, value in ((OWN, secret.self_seed), (KEY, secret.mask)):
        shares = split_secret(value, len(holding), site_list.threshold)
        sealed.append({})
        for holder, share in zip(holding, shares, strict=True):
            parts = session.scope, attempt, what, site.name, holder
            key = derive_key(derive_channel(session.channel, channels[holder]), "share", *parts)
            nonce = secrets.token_bytes(NONCE)
            sealed[-1][holder] = (nonce + AESGCM(key).encrypt(nonce, share, None)).hex()
    state.keep_attempt(site, session.name, attempt, secret)
    mask, commitment = public_key(secret.mask).hex(), hashlib.sha256(secret.self_seed).hexdigest()
    text = mask_text(session.scope, attempt, site.name, mask, commitment)
    return AttemptShares(site.name, mask, commitment, sign(site, text), *sealed)


def _answer(step: AnswerMasked, site: Site, request: Request | None) -> SiteSums:
    """The answer to a request, after the gate, with masks; each attempt's masks are used once."""
    try:
        if request is None:
            raise RefusedError("a step without the request that it is about")
        session = state.find_session(site, step.session)
        attempt = state.find_attempt(site, step.session, step.attempt)
        seeds = _pair_seeds(step, session, attempt, site)
        if request.run != session.run:
            raise RefusedError("the request is of another run than the session")
        if request.per_site or request.order.layout().per_site:
            raise RefusedError(
                f"'{request.order.order}' asks for arrays of single sites, which no mask hides; "
                "set federation.sums_only = true"
            )
    except RefusedError as error:
        raise RefusedError(named(error.problems, [site.name])) from None
    admission = Admission.of(request, (site,), masked=True)

    def mask(layout: Layout, vector: Ints) -> Ints:
        check_range(layout, vector, len(step.active))
        used = Attempt(
            attempt.mask,
            attempt.self_seed,
            digest_for(site.name, admission.shared, request),
            step.active,
        )
        # Before anything leaves: a second answer with these masks would differ from it by the
        # difference of what they hide.
        state.keep_attempt(site, step.session, step.attempt, used)
        masked = vector.copy()
        add_mask(masked, attempt.self_seed, 1)
        for other, seed in seeds.items():
            add_mask(masked, seed, pair_sign(site.name, other))
        return masked

    return served(request, site, admission.admit, mask)


def _pair_seeds(
    step: AnswerMasked, session: Session, attempt: Attempt, site: Site
) -> dict[str, bytes]:
    """Seeds of the masks in common with neighbours, whose keys they signed."""
    site_list, holding = session.agreed(site)
    if attempt.question:
        raise RefusedError(
            f"attempt {step.attempt}: its masks have been used; a mask is used once, so ask with "
            "a new attempt"
        )
    active = set(step.active)
    check_count(len(active))
    if site.name not in active or len(active) < len(step.active) or active - set(site_list.names):
        raise RefusedError("the sites that are asked are not sites of this session, each once")
    if len(active & set(holding)) < site_list.threshold:
        raise RefusedError(
            f"{len(active & set(holding))} of the sites that hold shares of this one's masks are "
            f"asked, and opening them takes {site_list.threshold} (secure.threshold)"
        )
    expected = sorted(active & set(holding) - {site.name})
    if [mask.name for mask in step.masks] != expected:
        raise RefusedError("the keys are not those of this site's neighbours, in order")
    check_claims(
        site,
        [
            Claim(
                m.name,
                mask_text(session.scope, step.attempt, m.name, m.mask, m.commitment),
                m.signature,
            )
            for m in step.masks
        ],
    )
    seeds = {}
    for other in step.masks:
        with readable(f"the key of site '{other.name}'"):
            seeds[other.name] = derive_pair_seed(
                attempt.mask,
                bytes.fromhex(other.mask),
                session.scope,
                step.attempt,
                {site.name, other.name},
            )
    return seeds


def check_range(layout: Layout, vector: Ints, sites: int) -> None:
    """Refuses numbers so large that the sum over all sites could wrap around unseen.

    Raises:
        NumericalError: The field is named.
    """
    most = (2**63 - 1) // sites
    start = 0
    for field in layout.fields:
        part = vector[start : start + field.size]
        start += field.size
        # Not by the magnitude: that of the smallest integer is itself.
        if not field.wrapping and bool(((part > most) | (part < -most)).any()):
            raise NumericalError(
                f"'{field.name}' exceeds +-{most / 2.0**field.bits:.3g}, what each of {sites} "
                "sites may add to a masked sum: training has diverged; lower model.critic_rate "
                "and model.generator_rate"
            )


def open_masks(step: Unmask, site: Site) -> Revealed:
    """Opens the site's shares of others' masks: once an attempt, of each site one kind.

    Raises:
        RefusedError: The sum would be over too few sites, over others than before, or a share is
            not of this attempt.
    """
    session = state.find_session(site, step.session)
    attempt = state.find_attempt(site, step.session, step.attempt)
    if not attempt.question:
        raise RefusedError(f"attempt {step.attempt}: this site has masked nothing with it")
    site_list, holding = session.agreed(site)
    survivors = set(step.survivors)
    check_count(len(survivors))
    if site.name not in survivors or len(survivors) < len(step.survivors):
        raise RefusedError("the sites whose answers came do not include this one, or one twice")
    if survivors - set(attempt.active):
        raise RefusedError("the sites whose answers came are others than were asked")
    if len(survivors & set(holding)) < site_list.threshold:
        raise RefusedError(
            f"answers of {len(survivors & set(holding))} sites came of those that hold shares of "
            f"this one's masks, and a sum takes {site_list.threshold} (secure.threshold)"
        )
    if strangers := step.shares.keys() - (set(attempt.active) & set(holding)):
        raise RefusedError(f"shares of {len(strangers)} sites that were not asked")
    opened = _open_shares(step.shares, survivors, step.attempt, session, site)
    state.enter_survivors(site, attempt.question, survivors)
    state.forget_attempt(site, step.session, step.attempt)
    upcoming = make_shares(session, step.upcoming, site) if step.upcoming else None
    return Revealed(opened, upcoming)


def _open_shares(
    sealed: Mapping[str, str], survivors: set[str], attempt: str, session: Session, site: Site
) -> dict[str, str]:
    site_list, _ = session.agreed(site)
    channels = {keys.name: bytes.fromhex(keys.channel) for keys in site_list.keys}
    opened = {}
    for name, text in sealed.items():
        what = OWN if name in survivors else KEY
        parts = session.scope, attempt, what, name, site.name
        key = derive_key(derive_channel(session.channel, channels[name]), "share", *parts)
        content = bytes.fromhex(text)
        try:
            opened[name] = AESGCM(key).decrypt(content[:NONCE], content[NONCE:], None).hex()
        except (InvalidTag, ValueError):
            raise RefusedError(
                f"the share of site '{name}' is not one of its {what} in attempt {attempt} for "
                "this site: it was changed, or is of another attempt and came again"
            ) from None
    return opened
