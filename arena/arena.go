// Package arena is package arenamem, until its parts are packages of their own.
package arena

import (
	"iter"

	"github.com/rbtool/rbtool/internal/arenamem"
)

const (
	MaxSize          = arenamem.MaxSize
	MaxAlloc         = arenamem.MaxAlloc
	MaxKey           = arenamem.MaxKey
	MaxValue         = arenamem.MaxValue
	MaxTableBytes    = arenamem.MaxTableBytes
	MaxTableCapacity = arenamem.MaxTableCapacity
	MaxQueue         = arenamem.MaxQueue
	MaxRootName      = arenamem.MaxRootName
	BaseVariable     = arenamem.BaseVariable

	KindList  = arenamem.KindList
	KindTable = arenamem.KindTable
	KindQueue = arenamem.KindQueue
	KindUser  = arenamem.KindUser

	Any     = arenamem.Any
	NoExist = arenamem.NoExist
	Exist   = arenamem.Exist
)

var (
	ErrNotSupported = arenamem.ErrNotSupported
	ErrAddressTaken = arenamem.ErrAddressTaken
	ErrPointer      = arenamem.ErrPointer
	ErrNil          = arenamem.ErrNil
	ErrAbsent       = arenamem.ErrAbsent
	ErrFormat       = arenamem.ErrFormat
	ErrCorrupt      = arenamem.ErrCorrupt
	ErrFull         = arenamem.ErrFull
	ErrTooLarge     = arenamem.ErrTooLarge
	ErrNotAllocated = arenamem.ErrNotAllocated
	ErrNotFound     = arenamem.ErrNotFound
	ErrExists       = arenamem.ErrExists
	ErrBusy         = arenamem.ErrBusy
	ErrEmpty        = arenamem.ErrEmpty

	Address                      = arenamem.Address
	IsKV                         = arenamem.IsKV
	LoadCollectionSpec           = arenamem.LoadCollectionSpec
	LoadCollectionSpecFromReader = arenamem.LoadCollectionSpecFromReader
	LoadCollection               = arenamem.LoadCollection
	Create                       = arenamem.Create
	Open                         = arenamem.Open
	NewKV                        = arenamem.NewKV
	OpenKV                       = arenamem.OpenKV
	NewList                      = arenamem.NewList
	OpenList                     = arenamem.OpenList
	NewQueue                     = arenamem.NewQueue
	OpenQueue                    = arenamem.OpenQueue
	NewTable                     = arenamem.NewTable
	OpenTable                    = arenamem.OpenTable
)

type (
	Arena             = arenamem.Arena
	AddressTakenError = arenamem.AddressTakenError
	Class             = arenamem.Class
	Collection        = arenamem.Collection
	Entry             = arenamem.Entry
	Flags             = arenamem.Flags
	Heap              = arenamem.Heap
	HeapStats         = arenamem.HeapStats
	KV                = arenamem.KV
	Kind              = arenamem.Kind
	Link              = arenamem.Link
	List              = arenamem.List
	LoadOptions       = arenamem.LoadOptions
	Options           = arenamem.Options
	Ptr[T any]        = arenamem.Ptr[T]
	Queue             = arenamem.Queue
	Root              = arenamem.Root
	Table             = arenamem.Table
	TableOptions      = arenamem.TableOptions
)

func Nodes[T any](l *List) iter.Seq2[*T, error]   { return arenamem.Nodes[T](l) }
func New[T any](h *Heap) (Ptr[T], *T, error)      { return arenamem.New[T](h) }
func PtrTo[T any](a *Arena, v *T) (Ptr[T], error) { return arenamem.PtrTo(a, v) }
