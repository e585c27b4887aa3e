"""A synthetic version of one table, and whether it covers every group.

    python simulations/examples/own_table.py

Replace the built-in table by your own: `frame = pandas.read_csv("people.csv")`.
"""

import everymode

KEEP = ["age", "education", "occupation", "sex", "race", "hours-per-week", "income"]
GROUPS, TARGET = ["sex"], "income"

frame = everymode.load_adult()[KEEP].sample(3000, random_state=0).reset_index(drop=True)
unseen = everymode.load_adult("test")[KEEP].sample(1500, random_state=0).reset_index(drop=True)

# Few rounds, so that this takes seconds; leave `overrides` out for a good table.
model = everymode.fit(
    frame,
    sensitive_features=GROUPS,
    target=TARGET,
    sites=5,
    holdout=unseen,
    overrides={"train.rounds": 20},
)
table = model.sample(3000)
print(table.head())
print(model.sample(3, where={"sex": "Female", "income": ">50K"}))

report = everymode.audit(frame, table, sensitive_features=GROUPS, target=TARGET, holdout=unseen)
print(report)
