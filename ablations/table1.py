"""Table 1 of MacTok: whole systems at 256 px. Its Table 7 adds precision and recall."""

import dataclasses

from ablations import table7

study = dataclasses.replace(table7.study, title="Table 1: systems at 256 px", hides=("precision", "recall"))
