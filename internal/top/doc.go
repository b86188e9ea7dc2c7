// Package top is the screen of rbtool top. It has two views: a list of all maps of the host, and the
// records of one ring.
// A [Model] is a bubbletea program. Update handles messages. View draws the state for a screen of any
// size. Sampling and opening a ring are bubbletea commands, which run in other goroutines; at most one
// sample runs at a time.
package top
