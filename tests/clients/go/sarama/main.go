// sarama behind the commands that every client program here has; see the README two folders up.
package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"

	clients "trivet.tests/clients"
)

var codecs = map[string]sarama.CompressionCodec{
	"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
	"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
}

func config(o clients.Options) *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.V4_0_0_0
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Return.Successes = true
	c.Producer.Compression = codecs[o["codec"]]
	c.Producer.Partitioner = sarama.NewManualPartitioner
	c.Producer.Retry.Max = 10
	if o["idempotent"] == "true" {
		c.Producer.Idempotent = true
		c.Net.MaxOpenRequests = 1
	}
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	return c
}

func message(o clients.Options, i int) *sarama.ProducerMessage {
	m := &sarama.ProducerMessage{Topic: o["topic"], Partition: int32(i % o.Number("partitions")),
		Timestamp: time.UnixMilli(clients.FirstTimestampMs + int64(i)),
		Headers:   []sarama.RecordHeader{{Key: []byte("n"), Value: []byte(fmt.Sprint(i))}}}
	if k := clients.Key(i); k != nil {
		m.Key = sarama.ByteEncoder(k)
	}
	if v := clients.Value(i); v != nil {
		m.Value = sarama.ByteEncoder(v)
	}
	return m
}

func produce(o clients.Options) {
	p, err := sarama.NewSyncProducer([]string{o["bootstrap"]}, config(o))
	clients.Must(err)
	defer p.Close()
	var messages []*sarama.ProducerMessage
	for i := 0; i < o.Number("count"); i++ {
		messages = append(messages, message(o, i))
	}
	clients.Must(p.SendMessages(messages))
	clients.SayJSON(map[string]int{"acked": len(messages)})
}

func sayMessage(m *sarama.ConsumerMessage) {
	var headers [][2]string
	for _, h := range m.Headers {
		headers = append(headers, [2]string{string(h.Key), string(h.Value)})
	}
	clients.SayRecord(m.Partition, m.Offset, m.Key, m.Value, m.Timestamp.UnixMilli(), headers)
}

func consume(o clients.Options) {
	c, err := sarama.NewConsumer([]string{o["bootstrap"]}, config(o))
	clients.Must(err)
	defer c.Close()
	partitions, err := c.Partitions(o["topic"])
	clients.Must(err)
	all := make(chan *sarama.ConsumerMessage)
	for _, p := range partitions {
		pc, err := c.ConsumePartition(o["topic"], p, sarama.OffsetOldest)
		clients.Must(err)
		go func() {
			for m := range pc.Messages() {
				all <- m
			}
		}()
	}
	deadline := time.After(30 * time.Second)
	for left := o.Number("count"); left > 0; left-- {
		select {
		case m := <-all:
			sayMessage(m)
		case <-deadline:
			return
		}
	}
}

func expect(name, wanted string, c *sarama.Config, o clients.Options, m *sarama.ProducerMessage) {
	p, err := sarama.NewSyncProducer([]string{o["bootstrap"]}, c)
	clients.Must(err)
	defer p.Close()
	_, _, err = p.SendMessage(m)
	clients.Expect(name, wanted, err)
}

func errors(o clients.Options) {
	c := config(o)
	c.Producer.MaxMessageBytes = 8 << 20
	expect("message_too_large", "Message was too large", c, o,
		&sarama.ProducerMessage{Topic: o["topic"], Value: sarama.ByteEncoder(make([]byte, 2<<20))})
	expect("illegal_topic_name", "topic", config(o), o, &sarama.ProducerMessage{Topic: "no/such", Value: sarama.StringEncoder("x")})
	expect("timestamp_refused", "timestamp", config(o), o,
		&sarama.ProducerMessage{Topic: o["strict"], Value: sarama.StringEncoder("x"), Timestamp: time.UnixMilli(1)})
}

type handler struct{ topic string }

func (h handler) Setup(s sarama.ConsumerGroupSession) error {
	clients.SayPartitions("assigned", s.Claims()[h.topic])
	return nil
}

func (h handler) Cleanup(s sarama.ConsumerGroupSession) error {
	clients.SayPartitions("revoked", s.Claims()[h.topic])
	return nil
}

var committing sync.Mutex

func (h handler) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for m := range claim.Messages() {
		sayMessage(m)
		s.MarkMessage(m, "by sarama")
		if len(claim.Messages()) > 0 {
			continue
		}
		committing.Lock()
		s.Commit()
		committing.Unlock()
		// What failed was told on the group's channel of errors before Commit came back.
		clients.SayJSON(map[string]any{"event": "commit_sent", "p": m.Partition, "o": m.Offset + 1})
	}
	return nil
}

func member(o clients.Options) {
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		<-clients.Asked()
		stop()
	}()
	c := config(o)
	c.Consumer.Group.Session.Timeout = 6 * time.Second
	c.Consumer.Group.Heartbeat.Interval = time.Second
	c.Consumer.Group.Rebalance.Timeout = 10 * time.Second
	c.Consumer.Group.InstanceId = o["instance"]
	c.Consumer.Offsets.AutoCommit.Enable = false
	c.Consumer.Return.Errors = true
	g, err := sarama.NewConsumerGroup([]string{o["bootstrap"]}, o["group"], c)
	clients.Must(err)
	go func() {
		for err := range g.Errors() {
			clients.SayJSON(map[string]string{"event": "commit_failed", "why": err.Error()})
		}
	}()
	for ctx.Err() == nil {
		if err := g.Consume(ctx, []string{o["topic"]}, handler{o["topic"]}); err != nil {
			clients.SayJSON(map[string]string{"event": "consume_failed", "why": err.Error()})
			time.Sleep(200 * time.Millisecond)
		}
	}
	g.Close()
	clients.SayJSON(map[string]string{"event": "closed"})
}

func main() {
	command, o := clients.Arguments()
	map[string]func(clients.Options){"produce": produce, "consume": consume, "errors": errors, "member": member}[command](o)
}
