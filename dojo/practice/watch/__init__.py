"""`kata watch`: runs the tests on every save and shows the verdict on one screen."""
