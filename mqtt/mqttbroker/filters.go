package mqttbroker

import "strings"

// covers reports whether every topic that matches the filter narrow also matches wide. It may say false where that is
// so by a detour: +/# and #.
func covers(wide, narrow string) bool {
	if startsWild(wide) && strings.HasPrefix(narrow, "$") {
		return false
	}
	for {
		w, wrest, wmore := strings.Cut(wide, "/")
		n, nrest, nmore := strings.Cut(narrow, "/")
		switch {
		case w == "#":
			return true
		case n == "#", w != "+" && w != n:
			return false
		case !nmore:
			return !wmore || wrest == "#"
		case !wmore:
			return false
		}
		wide, narrow = wrest, nrest
	}
}

// overlaps reports whether there is a topic that matches both filters.
func overlaps(a, b string) bool {
	if startsWild(a) && strings.HasPrefix(b, "$") || startsWild(b) && strings.HasPrefix(a, "$") {
		return false
	}
	for {
		x, arest, amore := strings.Cut(a, "/")
		y, brest, bmore := strings.Cut(b, "/")
		switch {
		case x == "#" || y == "#":
			return true
		case x != "+" && y != "+" && x != y:
			return false
		case !amore && !bmore:
			return true
		case !amore:
			return brest == "#"
		case !bmore:
			return arest == "#"
		}
		a, b = arest, brest
	}
}

// startsWild reports whether a filter begins with a wildcard; then it does not match names that begin with a $
// [MQTT-4.7.2-1].
func startsWild(filter string) bool {
	return strings.HasPrefix(filter, "+") || strings.HasPrefix(filter, "#")
}
