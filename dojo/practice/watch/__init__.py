"""`kata watch`: on every save a verdict, on one screen."""
