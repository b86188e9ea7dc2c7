// Package order has the store that sync/atomic lacks.
package order
