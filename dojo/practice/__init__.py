"""The screens that learners practise on: `kata watch`, `kata drill` and `kata hunt`. May import engine, progress and core."""
