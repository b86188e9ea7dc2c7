// Package headers holds the C headers for programs of users: rbtool headers writes them.
package headers

import "embed"

// Files has the headers, all in its root.
//
//go:embed *.h
var Files embed.FS
