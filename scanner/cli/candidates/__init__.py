"""Commands for candidates: match them with other tables, release them, hand them on."""
