"""How readers write numbers and dates: the signs and names of each locale that a report may have.

The signs and names are those of Unicode's CLDR 47. A table of ours, because the library with all locales (Babel) takes 36 MB, and a
report needs a dozen lines of it.
"""

import re
from dataclasses import dataclass
from datetime import date, datetime, time


@dataclass(frozen=True)
class Names:
    """The names that strftime's %b, %B, %a and %A stand for, from January and from Monday on."""

    short_months: tuple[str, ...]
    months: tuple[str, ...]
    short_days: tuple[str, ...]
    days: tuple[str, ...]


@dataclass(frozen=True)
class Writing:
    """How numbers and dates are written.

    The forms are strftime's. `day_form` has no year; it and `full_day_form` have the month's name. Without `names` they are
    Python's own, which are English.
    """

    decimal: str
    group: str
    date_form: str
    time_form: str
    day_form: str
    full_day_form: str
    names: Names | None = None

    def number(self, text: str) -> str:
        """Return a number that Python has written (1,234.50) with these signs."""
        return text.translate({ord("."): self.decimal, ord(","): self.group})

    def moment(self, value: date | time, spec: str) -> str:
        """Return a date or time by a format of strftime; %c, %x and %X are this writing's own date and time."""
        if self.names is None:
            return value.strftime(spec)
        own = {"%c": f"{self.date_form} {self.time_form}", "%x": self.date_form, "%X": self.time_form}
        spec = _DIRECTIVE.sub(lambda found: own.get(found[0], found[0]), spec)
        return value.strftime(_DIRECTIVE.sub(lambda found: self._name(value, found[0]), spec))

    def _name(self, value: date | time, directive: str) -> str:
        if self.names is None or not isinstance(value, date):
            return directive
        lists = {
            "%b": self.names.short_months,
            "%B": self.names.months,
            "%a": self.names.short_days,
            "%A": self.names.days,
        }
        if directive not in lists:
            return directive
        return lists[directive][value.month - 1 if directive in ("%b", "%B") else value.weekday()]

    def excel(self, kind: type) -> str:
        """Return the format of a cell with a date, a time stamp or a time, which has seconds."""
        clock = self.time_form.replace("%M", f"%M{self.time_form[self.time_form.index('%M') - 1]}%S")
        spec = {date: self.date_form, datetime: f"{self.date_form} {clock}", time: clock}[kind]
        return _DIRECTIVE.sub(lambda found: _OF_EXCEL[found[0]], spec.replace("/", "\\/"))


def _names(*lists: str) -> Names:
    return Names(*(tuple(words.split()) for words in lists))


_DIRECTIVE = re.compile(r"%-?[a-zA-Z%]")
_OF_EXCEL = {"%d": "dd", "%m": "mm", "%Y": "yyyy", "%H": "hh", "%-I": "h", "%M": "mm", "%S": "ss", "%p": "AM/PM"}

# That of a report without a locale.
PLAIN = Writing(".", ",", "%Y-%m-%d", "%H:%M", "%-d %b", "%-d %b %Y")

_DE = _names(
    "Jan. Feb. März Apr. Mai Juni Juli Aug. Sept. Okt. Nov. Dez.",
    "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "Mo. Di. Mi. Do. Fr. Sa. So.",
    "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag",
)
_DA = _names(
    "jan. feb. mar. apr. maj jun. jul. aug. sep. okt. nov. dec.",
    "januar februar marts april maj juni juli august september oktober november december",
    "man. tirs. ons. tors. fre. lør. søn.",
    "mandag tirsdag onsdag torsdag fredag lørdag søndag",
)
_EN = _names(
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec",
    "January February March April May June July August September October November December",
    "Mon Tue Wed Thu Fri Sat Sun",
    "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
)
_ES = _names(
    "ene feb mar abr may jun jul ago sept oct nov dic",
    "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "lun mar mié jue vie sáb dom",
    "lunes martes miércoles jueves viernes sábado domingo",
)
_FR = _names(
    "janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.",
    "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "lun. mar. mer. jeu. ven. sam. dim.",
    "lundi mardi mercredi jeudi vendredi samedi dimanche",
)
_IT = _names(
    "gen feb mar apr mag giu lug ago set ott nov dic",
    "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "lun mar mer gio ven sab dom",
    "lunedì martedì mercoledì giovedì venerdì sabato domenica",
)
_NL = _names(
    "jan feb mrt apr mei jun jul aug sep okt nov dec",
    "januari februari maart april mei juni juli augustus september oktober november december",
    "ma di wo do vr za zo",
    "maandag dinsdag woensdag donderdag vrijdag zaterdag zondag",
)
_PL = _names(
    "sty lut mar kwi maj cze lip sie wrz paź lis gru",
    "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia",
    "pon. wt. śr. czw. pt. sob. niedz.",
    "poniedziałek wtorek środa czwartek piątek sobota niedziela",
)
_PT = _names(
    "jan. fev. mar. abr. mai. jun. jul. ago. set. out. nov. dez.",
    "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    "seg. ter. qua. qui. sex. sáb. dom.",
    "segunda-feira terça-feira quarta-feira quinta-feira sexta-feira sábado domingo",
)
_SV = _names(
    "jan. feb. mars apr. maj juni juli aug. sep. okt. nov. dec.",
    "januari februari mars april maj juni juli augusti september oktober november december",
    "mån tis ons tors fre lör sön",
    "måndag tisdag onsdag torsdag fredag lördag söndag",
)

_WRITINGS = {
    "da": Writing(",", ".", "%d.%m.%Y", "%H.%M", "%-d. %b", "%-d. %b %Y", _DA),
    "de": Writing(",", ".", "%d.%m.%Y", "%H:%M", "%-d. %b", "%-d. %b %Y", _DE),
    "de-CH": Writing(".", "\N{RIGHT SINGLE QUOTATION MARK}", "%d.%m.%Y", "%H:%M", "%-d. %b", "%-d. %b %Y", _DE),
    "en-GB": Writing(".", ",", "%d/%m/%Y", "%H:%M", "%-d %b", "%-d %b %Y", _EN),
    "en-US": Writing(".", ",", "%m/%d/%Y", "%-I:%M %p", "%b %-d", "%b %-d, %Y", _EN),
    "es": Writing(",", ".", "%d/%m/%Y", "%H:%M", "%-d %b", "%-d %b %Y", _ES),
    "fr": Writing(",", "\u202f", "%d/%m/%Y", "%H:%M", "%-d %b", "%-d %b %Y", _FR),
    "it": Writing(",", ".", "%d/%m/%Y", "%H:%M", "%-d %b", "%-d %b %Y", _IT),
    "nl": Writing(",", ".", "%d-%m-%Y", "%H:%M", "%-d %b", "%-d %b %Y", _NL),
    "pl": Writing(",", "\xa0", "%d.%m.%Y", "%H:%M", "%-d %b", "%-d %b %Y", _PL),
    "pt": Writing(",", ".", "%d/%m/%Y", "%H:%M", "%-d de %b", "%-d de %b de %Y", _PT),
    "sv": Writing(",", "\xa0", "%Y-%m-%d", "%H:%M", "%-d %b", "%-d %b %Y", _SV),
}
LOCALES = tuple(_WRITINGS)


def writing_of(locale: str | None) -> Writing:
    """Return the writing of a locale, of none the plain one; raises ValueError if there is no such locale."""
    if not locale:
        return PLAIN
    if locale not in _WRITINGS:
        raise ValueError(f"the locale {locale[:20]!r} is not known; those that can be used are {', '.join(LOCALES)}")
    return _WRITINGS[locale]
