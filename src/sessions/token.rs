//! Making access tokens, and telling ours from invented ones without a look-up.
