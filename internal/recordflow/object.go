package recordflow

import "slices"

// object is memory, or a map, that pointers point to.
type object struct {
	objectKey
	members []int32 // of a union: the objects of which it is one

	writes  []noted
	reads   []noted
	passes  []notedPass
	escapes bool
	lost    bool           // not all that was written to it is known at the end
	ends    bool           // the program is seen to submit it, if it is a record
	final   map[int32]bool // the writes that are not overwritten when it is submitted
}

// objectKey identifies an object. Which fields are set depends on the kind.
type objectKey struct {
	kind objectKind
	// m is the id of the map that the object is, or that its memory belongs to; 0 for an element of a map that
	// lies in another map.
	m  uint32
	at place // the call that returned the object; for the stack and arguments, the function
	n  int   // number of the argument
}

type objectKind uint8

const (
	union          objectKind = iota
	record                    // what a call reserved in the ring
	stack                     // the stack of a function
	variable                  // the only value of a map: global variables
	element                   // an element of a map
	argument                  // what an argument points to
	programContext            // the argument of the program
	mapItself                 // a map
	inner                     // a map that lies in map m
	mapBase                   // the start of the memory of map m: in a lookup that the verifier inlined
	hashNode                  // what holds an element of a hash table: in a lookup that the verifier inlined
	mapSlot                   // what holds the address of an element or of an inner map: in such a lookup
	sample                    // a sample of a user ring
	sampleDynptr              // the dynptr of a sample
)

// noObject is the id of no object.
const noObject = 0

// Bounds for programs that the verifier would refuse.
const (
	maxMembers = 8
	maxUnions  = 256
)

// object returns the id of the object with this key.
func (a *analysis) object(key objectKey) int32 {
	id, ok := a.objectIDs[key]
	if !ok {
		id = int32(len(a.objects))
		a.objects = append(a.objects, &object{objectKey: key})
		a.objects[id].members = []int32{id}
		a.objectIDs[key] = id
	}
	return id
}

// pointerTo returns a pointer to the start of the object with this key.
func (a *analysis) pointerTo(key objectKey) value {
	return value{kind: pointer, id: a.object(key)}
}

// members returns the ids of the objects that v can point into.
func (a *analysis) members(v value) []int32 {
	if v.kind != pointer && v.kind != dynptr {
		return nil
	}
	return a.objects[v.id].members
}

// is reports whether all objects that v can point into are of this kind.
func (a *analysis) is(v value, k objectKind) bool {
	for _, id := range a.members(v) {
		if a.objects[id].kind != k {
			return false
		}
	}
	return v.kind == pointer
}

// union returns the id of an object that is one of the objects x and y, or noObject if that would be one of too
// many.
func (a *analysis) union(x, y int32) int32 {
	if x == y {
		return x
	}
	if x > y {
		x, y = y, x
	}
	if id, ok := a.unions[[2]int32{x, y}]; ok {
		return id
	}
	if len(a.unions) >= maxUnions {
		return noObject
	}
	all := append(slices.Clone(a.objects[x].members), a.objects[y].members...)
	slices.Sort(all)
	all = slices.Compact(all)
	id := int32(noObject)
	for n, o := range a.objects {
		if slices.Equal(o.members, all) {
			id = int32(n)
		}
	}
	if id == noObject && len(all) <= maxMembers {
		id = int32(len(a.objects))
		a.objects = append(a.objects, &object{members: all})
	}
	a.unions[[2]int32{x, y}] = id
	return id
}
