package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rbtool/rbtool/decode"
)

// typesBucket returns the name of the key-value bucket that has the types of the records in a stream, by their content hashes.
func typesBucket(stream string) string { return stream + "_types" }

// PutTypes stores types once for all rings and hosts that have the same, and returns their content hash for [Batch].
func (j *JetStream) PutTypes(ctx context.Context, types *decode.Set) (hash string, err error) {
	body, err := types.MarshalBinary()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(body)
	hash = hex.EncodeToString(sum[:16])
	ctx, stop := j.attempt(ctx)
	defer stop()
	bucket, err := j.js.KeyValue(ctx, typesBucket(j.address.Stream))
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		bucket, err = j.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: typesBucket(j.address.Stream)})
	}
	if err == nil {
		_, err = bucket.Create(ctx, hash, body)
	}
	if errors.Is(err, jetstream.ErrKeyExists) {
		err = nil
	}
	if err != nil && context.Cause(ctx) != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return "", fmt.Errorf("store the types of records: %w", err)
	}
	return hash, nil
}

// Types returns the types with a content hash.
func (j *JetStream) Types(ctx context.Context, hash string) (*decode.Set, error) {
	ctx, stop := j.attempt(ctx)
	defer stop()
	bucket, err := j.js.KeyValue(ctx, typesBucket(j.address.Stream))
	var entry jetstream.KeyValueEntry
	if err == nil {
		entry, err = bucket.Get(ctx, hash)
	}
	if err != nil && context.Cause(ctx) != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("read the types of records: %w", err)
	}
	return decode.UnmarshalSet(entry.Value())
}
