#include "textflag.h"

// DMB ISHLD
TEXT ·LoadFence(SB), NOSPLIT, $0-0
	DMB	$0x9
	RET
