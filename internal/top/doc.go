// Package top is the screen of rbtool top: all rings of the host, live, and any one of
// them in depth.
//
// A [Model] is a bubbletea program: what happens goes into Update, and View draws
// what is known, whatever the size of the screen. Sampling and opening a ring are
// commands, which bubbletea runs in goroutines of their own, one at a time.
package top
