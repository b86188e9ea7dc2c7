package syscall

// For the tests, which are outside of the package: testenv imports it.
var (
	InnerBatch   = &innerBatch
	InnerByKey   = innerByKey
	InnerByBatch = innerByBatch
)
