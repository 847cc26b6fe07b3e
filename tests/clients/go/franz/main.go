// franz-go behind the commands that every client program here has; see the README two folders up.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	clients "trivet.tests/clients"
)

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func producer(o clients.Options, more ...kgo.Opt) *kgo.Client {
	codec, known := codecs[o["codec"]]
	if !known {
		codec = kgo.NoCompression()
	}
	options := []kgo.Opt{kgo.SeedBrokers(o.Words("bootstrap")...), kgo.ProducerBatchCompression(codec),
		kgo.RecordPartitioner(kgo.ManualPartitioner())}
	if o["idempotent"] != "true" {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	c, err := kgo.NewClient(append(options, more...)...)
	clients.Must(err)
	return c
}

func produce(o clients.Options) {
	c := producer(o)
	defer c.Close()
	var records []*kgo.Record
	for i := 0; i < o.Number("count"); i++ {
		records = append(records, &kgo.Record{Topic: o["topic"], Partition: int32(i % o.Number("partitions")),
			Key: clients.Key(i), Value: clients.Value(i), Timestamp: time.UnixMilli(clients.FirstTimestampMs + int64(i)),
			Headers: []kgo.RecordHeader{{Key: "n", Value: []byte(fmt.Sprint(i))}}})
	}
	clients.Must(c.ProduceSync(context.Background(), records...).FirstErr())
	clients.SayJSON(map[string]int{"acked": len(records)})
}

// write keeps a steady rate over all partitions, idempotent as by default, until something comes in on standard input.
func write(o clients.Options) {
	c, err := kgo.NewClient(kgo.SeedBrokers(o.Words("bootstrap")...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	clients.Must(err)
	asked, partitions := clients.Asked(), o.Number("partitions")
	ticks := time.NewTicker(time.Second / clients.TicksASecond)
	for sequence := 0; ; {
		select {
		case <-asked:
			clients.Must(c.Flush(context.Background()))
			c.Close()
			clients.SayJSON(map[string]string{"event": "closed"})
			return
		case <-ticks.C:
		}
		for i := 0; i < o.Number("rate")/clients.TicksASecond; i++ {
			p, n := int32(sequence%partitions), sequence/partitions
			sequence++
			r := &kgo.Record{Topic: o["topic"], Partition: p, Value: clients.Padded(o["who"], n)}
			c.Produce(context.Background(), r, func(r *kgo.Record, err error) {
				if err != nil {
					clients.SayJSON(map[string]any{"event": "failed", "p": p, "s": n, "why": err.Error()})
				} else {
					clients.SayJSON(map[string]any{"event": "acked", "p": p, "s": n, "o": r.Offset})
				}
			})
		}
	}
}

func sayError(event string, err error, retriable bool) {
	// A commit that a rebalance overtook: the next poll takes part in it, then what is still ours is committed. A broker that cannot be
	// reached, or goes away at once, is tried again by the client itself; it only tells of it.
	var unreachable *net.OpError
	var goneAtOnce *kgo.ErrFirstReadEOF
	retriable = retriable || kerr.IsRetriable(err) || kgo.IsRetryableBrokerErr(err) || errors.Is(err, kerr.RebalanceInProgress) ||
		errors.As(err, &unreachable) || errors.As(err, &goneAtOnce)
	clients.SayJSON(map[string]any{"event": event, "why": err.Error(), "retriable": retriable})
}

func sayRecord(r *kgo.Record) {
	var headers [][2]string
	for _, h := range r.Headers {
		headers = append(headers, [2]string{h.Key, string(h.Value)})
	}
	clients.SayRecord(r.Partition, r.Offset, r.Key, r.Value, r.Timestamp.UnixMilli(), headers)
}

func consume(o clients.Options) {
	c, err := kgo.NewClient(kgo.SeedBrokers(o.Words("bootstrap")...), kgo.ConsumeTopics(o["topic"]),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	clients.Must(err)
	defer c.Close()
	deadline, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	for left := o.Number("count"); left > 0 && deadline.Err() == nil; {
		c.PollFetches(deadline).EachRecord(func(r *kgo.Record) {
			sayRecord(r)
			left--
		})
	}
}

func expect(name, wanted string, o clients.Options, r *kgo.Record, more ...kgo.Opt) {
	c := producer(o, more...)
	defer c.Close()
	clients.Expect(name, wanted, c.ProduceSync(context.Background(), r).FirstErr())
}

func refusals(o clients.Options) {
	expect("message_too_large", "MESSAGE_TOO_LARGE", o, &kgo.Record{Topic: o["topic"], Value: make([]byte, 2<<20)},
		kgo.ProducerBatchMaxBytes(8<<20))
	expect("unknown_topic", "UNKNOWN_TOPIC_OR_PARTITION", o, &kgo.Record{Topic: "franz-no-such-topic", Value: []byte("x")},
		kgo.UnknownTopicRetries(1))
	expect("timestamp_refused", "INVALID_TIMESTAMP", o,
		&kgo.Record{Topic: o["strict"], Value: []byte("x"), Timestamp: time.UnixMilli(1)})
}

// session is a member's place in one generation of its group.
type session struct {
	member     string
	generation int32
}

// place is where a member stands: in the client, and as far as the program was told of its partitions.
type place struct {
	told  atomic.Value // a session
	early atomic.Bool  // the latest session ended before the program was told of its partitions
}

func (p *place) assigned(c *kgo.Client) {
	member, generation := c.GroupMetadata()
	p.told.Store(session{member, generation})
}

func (p *place) lost(c *kgo.Client) {
	member, generation := c.GroupMetadata()
	p.early.Store(p.told.Load() != session{member, generation})
}

// commits lets a commit go out only in the generation whose partitions the program was told of.
//
// One that comes while the client joins anew waits there, with the offsets that it came with, and goes out in the generation
// that comes of it. When the group went on without this member meanwhile (its JoinGroup was late: a client that finds a broken
// connection to each of its brokers, one after the other, loses more than ten seconds), it is a new member by then, and would
// write over what the new owners of its partitions have committed. Apache Kafka takes that from a classic member just the same.
func (p *place) commits(ctx context.Context) context.Context {
	return kgo.PreCommitFnContext(ctx, func(r *kmsg.OffsetCommitRequest) error {
		if p.told.Load() != (session{r.MemberID, r.Generation}) {
			return kerr.RebalanceInProgress
		}
		return nil
	})
}

// neverWas tells of a generation that its coordinator did not live to write down: the next one does not know of it, and the client
// joins again. Had the program been told of its partitions in it, it was written, and whoever forgot it is to blame.
func (p *place) neverWas(err error) bool {
	var ended *kgo.ErrGroupSession
	return errors.As(err, &ended) && p.early.Load() && (errors.Is(err, kerr.IllegalGeneration) || errors.Is(err, kerr.UnknownMemberID))
}

func partitionsOf(m map[string][]int32, topic string) []int32 { return m[topic] }

func member(o clients.Options) {
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		<-clients.Asked()
		stop()
	}()
	var at place
	options := []kgo.Opt{kgo.SeedBrokers(o.Words("bootstrap")...), kgo.ConsumerGroup(o["group"]), kgo.ConsumeTopics(o["topic"]),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.WithLogger(kgo.BasicLogger(os.Stderr, kgo.LogLevelInfo, func() string { return time.Now().Format("15:04:05.000 ") })),
		kgo.OnPartitionsAssigned(func(_ context.Context, c *kgo.Client, m map[string][]int32) {
			at.assigned(c)
			clients.SayPartitions("assigned", partitionsOf(m, o["topic"]))
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
			clients.SayPartitions("revoked", partitionsOf(m, o["topic"]))
		}),
		kgo.OnPartitionsLost(func(_ context.Context, c *kgo.Client, m map[string][]int32) {
			at.lost(c)
			clients.SayPartitions("revoked", partitionsOf(m, o["topic"]))
		})}
	if o["session"] != "default" {
		session := 6000
		if o["session"] != "" {
			session = o.Number("session")
		}
		options = append(options, kgo.SessionTimeout(time.Duration(session)*time.Millisecond),
			kgo.HeartbeatInterval(time.Second), kgo.RebalanceTimeout(10*time.Second))
	}
	if o["assignor"] == "cooperative" {
		options = append(options, kgo.Balancers(kgo.CooperativeStickyBalancer()))
	} else {
		options = append(options, kgo.Balancers(kgo.RangeBalancer()))
	}
	if o["instance"] != "" {
		options = append(options, kgo.InstanceID(o["instance"]))
	}
	c, err := kgo.NewClient(options...)
	clients.Must(err)
	ends := map[int32]int64{} // what was read, and not yet committed
	for ctx.Err() == nil {
		c.AllowRebalance()
		soon, over := context.WithTimeout(ctx, 100*time.Millisecond)
		fetches := c.PollFetches(soon)
		over()
		fetches.EachError(func(_ string, _ int32, err error) {
			if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
				sayError("error", err, at.neverWas(err))
			}
		})
		fetches.EachRecord(func(r *kgo.Record) {
			sayRecord(r)
			ends[r.Partition] = r.Offset + 1
		})
		if len(ends) == 0 {
			continue
		}
		limit, done := context.WithTimeout(context.Background(), 10*time.Second)
		if err := c.CommitUncommittedOffsets(at.commits(limit)); err != nil {
			sayError("commit_failed", err, false)
		} else {
			committed := c.CommittedOffsets()[o["topic"]] // of what is ours
			for p, end := range ends {
				if committed[p].Offset >= end {
					clients.SayJSON(map[string]any{"event": "committed", "p": p, "o": end})
				}
			}
			clear(ends)
		}
		done()
	}
	c.CloseAllowingRebalance()
	clients.SayJSON(map[string]string{"event": "closed"})
}

func main() {
	command, o := clients.Arguments()
	map[string]func(clients.Options){"produce": produce, "consume": consume, "errors": refusals, "member": member,
		"write": write}[command](o)
}
