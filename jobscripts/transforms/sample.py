"""A transform to copy: write yours to jobscripts/transforms/NAME.py, and set `transform = 'NAME'` in the import's row.

frame   a pandas DataFrame with some thousand lines of the file. Its columns are named as those of the table, its index is
        the number of each line in the file. All values are texts, exactly as in the file; where there is none it is NaN.
return  a DataFrame with such an index and the same columns each time. Lines may be missing.
"""

from decimal import Decimal

import pandas

COUNTRIES = {"XETRA": "DE", "NYSE": "US"}


def transform(frame: pandas.DataFrame) -> pandas.DataFrame:
    frame = frame[frame["ticker"] != "TOTAL"]
    frame["country"] = frame["exchange"].map(COUNTRIES)
    frame["net"] = frame["net"].str.replace(".", "").str.replace(",", ".")
    frame["gross"] = frame["net"].map(lambda net: Decimal(net) * Decimal("1.19"), na_action="ignore")
    return frame
