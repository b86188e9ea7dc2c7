// Package top is the screen of rbtool top: a list of all rings of the host, and a view of one ring.
//
// A [Model] is a bubbletea program: Update handles messages, View draws the state for a screen of any
// size. Sampling and opening a ring are commands, which bubbletea runs in other goroutines; at most one
// sample runs at a time.
package top
