package infer

import "time"

// Tests do not depend on how fast the machine is: one that emulates its processor is a hundred times as slow.
func init() { programTime, ownerTime = time.Minute, time.Minute }
