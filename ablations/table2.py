"""Table 2 of MacTok: whole systems at 512 px. Its Table 8 adds precision and recall."""

import dataclasses

from ablations import table8

study = dataclasses.replace(table8.study, title="Table 2: systems at 512 px", hides=("precision", "recall"))
