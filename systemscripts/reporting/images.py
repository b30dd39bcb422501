"""The pictures of a mail: charts and the small drawings in cells; each is an inline part that the HTML names."""

import base64
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from systemscripts.mail.composing import Image
from systemscripts.reporting.chart_data import alt_text
from systemscripts.reporting.model import Chart, Table
from systemscripts.reporting.tables import NO_ROWS

_CHART_WIDTH = 480
_PICTURE = Markup(
    '<img src="cid:{}" alt="{}" width="{}" style="width:100%;max-width:{}px;height:auto;border:0;display:block;margin:8px 0 20px">'
)
_NOTHING = Markup('<p style="color:#52606d"><i>{}</i></p>')
_DRAWING = Markup('<img src="cid:{}" alt="{}" width="{}" height="{}" style="border:0;vertical-align:middle">')


@dataclass
class Images:
    """Collects the pictures that the tags name, by their names there; equal ones are one part."""

    found: dict[str, Image] = field(default_factory=dict)

    def chart(self, chart: Chart, table: Table) -> Markup:
        """Return the tag of a chart, or a short text if there is nothing to draw."""
        if not table.rows:
            return _NOTHING.format(f"{chart.title}: {NO_ROWS}" if chart.title else NO_ROWS)
        # If matplotlib may not write into the home directory, it warns each time, which helps nobody.
        logging.getLogger("matplotlib").setLevel(logging.ERROR)
        from systemscripts.reporting.charts import chart_png

        alt = alt_text(chart, table)
        return _PICTURE.format(self._add(chart_png(chart, table), alt), alt, _CHART_WIDTH, _CHART_WIDTH)

    def drawing(self, values: Sequence[float | None], alt: str) -> Markup:
        """Return the tag of a line drawn in a table's cell."""
        from systemscripts.reporting.sparklines import DISPLAY, sparkline_png

        return _DRAWING.format(self._add(sparkline_png(values), alt), alt, *DISPLAY)

    def _add(self, content: bytes, alt: str) -> str:
        # The name comes from the content, so that the same report makes the same mail.
        cid = f"{hashlib.sha256(content).hexdigest()[:24]}@report"
        self.found.setdefault(cid, Image(cid, content, alt))
        return cid


def with_pictures_inside(html: str, images: Sequence[Image]) -> str:
    """Return the HTML with its pictures inside, for a browser, which cannot see the mail's parts."""
    for image in images:
        data = base64.b64encode(image.content).decode()
        html = html.replace(f'src="cid:{image.cid}"', f'src="data:image/png;base64,{data}"')
    return html
