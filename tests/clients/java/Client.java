import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The Java client behind the commands that every client program here has; see README.md beside it. */
public class Client {
    static final long FIRST_TIMESTAMP = 1700000000000L;
    static final int TICKS_A_SECOND = 5;
    static final int PADDING = 60;

    public static void main(String[] args) throws Exception {
        Map<String, String> options = new HashMap<>();
        for (int i = 1; i < args.length; i++) {
            int at = args[i].indexOf('=');
            options.put(args[i].substring(0, at), args[i].substring(at + 1));
        }
        switch (args[0]) {
            case "produce" -> produce(options);
            case "consume" -> consume(options);
            case "errors" -> errors(options);
            case "member" -> member(options);
            case "write" -> write(options);
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    static byte[] bytes(String s) {
        return s == null ? null : s.getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] b) {
        return b == null ? null : new String(b, StandardCharsets.UTF_8);
    }

    static String json(String s) {
        return s == null ? "null" : "\"" + s.replace("\\", "\\\\").replace("\"", "\\\"") + "\"";
    }

    static KafkaProducer<byte[], byte[]> producer(Map<String, String> o, Map<String, String> more) {
        Properties p = new Properties();
        p.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, o.get("bootstrap"));
        p.put(ProducerConfig.COMPRESSION_TYPE_CONFIG, o.getOrDefault("codec", "none"));
        p.put(ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, o.getOrDefault("idempotent", "false"));
        p.put(ProducerConfig.ACKS_CONFIG, "all");
        p.put(ProducerConfig.LINGER_MS_CONFIG, "5");
        p.put(ProducerConfig.DELIVERY_TIMEOUT_MS_CONFIG, "40000");
        p.putAll(more);
        return new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static void produce(Map<String, String> o) throws Exception {
        int count = Integer.parseInt(o.get("count"));
        int partitions = Integer.parseInt(o.get("partitions"));
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = producer(o, Map.of())) {
            for (int i = 0; i < count; i++) {
                ProducerRecord<byte[], byte[]> r = new ProducerRecord<>(o.get("topic"), i % partitions,
                    FIRST_TIMESTAMP + i, i % 5 == 0 ? null : bytes("k" + i), i % 5 != 0 && i % 7 == 0 ? null : bytes(value(i)));
                r.headers().add("n", bytes(Integer.toString(i)));
                sent.add(producer.send(r));
            }
            producer.flush();
            for (Future<RecordMetadata> f : sent)
                f.get();
        }
        say("{\"acked\": " + count + "}");
    }

    static String value(int i) {
        return ("v" + i + " repeats itself").concat(" repeats itself".repeat(i % 50));
    }

    /** A steady rate over all partitions, idempotent as by default, until something comes in on standard input. */
    static void write(Map<String, String> o) throws Exception {
        int partitions = Integer.parseInt(o.get("partitions"));
        int aTick = Integer.parseInt(o.get("rate")) / TICKS_A_SECOND;
        int[] next = new int[partitions];
        Properties p = new Properties();
        p.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, o.get("bootstrap"));
        AtomicBoolean asked = asked();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (int i = 0; !asked.get(); i++) {
                int partition = i % partitions;
                int sequence = next[partition]++;
                byte[] value = bytes(o.get("who") + " " + sequence + " " + "p".repeat(PADDING));
                producer.send(new ProducerRecord<>(o.get("topic"), partition, null, value), (told, why) -> say(why == null
                    ? "{\"event\": \"acked\", \"p\": " + partition + ", \"s\": " + sequence + ", \"o\": " + told.offset() + "}"
                    : "{\"event\": \"failed\", \"p\": " + partition + ", \"s\": " + sequence + ", \"why\": " + json(why.toString()) + "}"));
                if (i % aTick == aTick - 1)
                    Thread.sleep(1000 / TICKS_A_SECOND);
            }
        }
        say("{\"event\": \"closed\"}");
    }

    /** Set when a line, or the end, comes in on standard input. */
    static AtomicBoolean asked() {
        AtomicBoolean asked = new AtomicBoolean();
        Thread input = new Thread(() -> {
            try {
                new BufferedReader(new InputStreamReader(System.in)).readLine();
            } catch (Exception ignored) {
                // The end of input is what is waited for, however it comes.
            }
            asked.set(true);
        });
        input.setDaemon(true);
        input.start();
        return asked;
    }

    static Properties consumerProperties(Map<String, String> o) {
        Properties p = new Properties();
        p.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, o.get("bootstrap"));
        p.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, "false");
        p.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        return p;
    }

    static void sayRecord(ConsumerRecord<byte[], byte[]> r) {
        StringBuilder headers = new StringBuilder();
        for (Header h : r.headers())
            headers.append(headers.length() > 0 ? ", " : "").append("[").append(json(h.key())).append(", ")
                .append(json(text(h.value()))).append("]");
        say("{\"p\": " + r.partition() + ", \"o\": " + r.offset() + ", \"k\": " + json(text(r.key())) + ", \"v\": "
            + json(text(r.value())) + ", \"t\": " + r.timestamp() + ", \"h\": [" + headers + "]}");
    }

    static void consume(Map<String, String> o) {
        int left = Integer.parseInt(o.get("count"));
        Properties p = consumerProperties(o);
        try (KafkaConsumer<byte[], byte[]> c = new KafkaConsumer<>(p, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> all = new ArrayList<>();
            for (PartitionInfo i : c.partitionsFor(o.get("topic")))
                all.add(new TopicPartition(i.topic(), i.partition()));
            c.assign(all);
            c.seekToBeginning(all);
            long deadline = System.currentTimeMillis() + 30000;
            while (left > 0 && System.currentTimeMillis() < deadline)
                for (ConsumerRecord<byte[], byte[]> r : c.poll(Duration.ofMillis(500))) {
                    sayRecord(r);
                    left--;
                }
        }
    }

    static void expect(String name, String wanted, Map<String, String> o, Map<String, String> more,
                       ProducerRecord<byte[], byte[]> r) {
        try (KafkaProducer<byte[], byte[]> producer = producer(o, more)) {
            producer.send(r).get();
            say("FAIL " + name + ": no error");
        } catch (ExecutionException why) {
            String got = why.getCause().getClass().getSimpleName();
            say(got.equals(wanted) ? "pass " + name : "FAIL " + name + ": " + why.getCause());
        } catch (Exception why) {
            say("FAIL " + name + ": " + why);
        }
    }

    static void errors(Map<String, String> o) {
        String topic = o.get("topic");
        byte[] large = new byte[2 << 20];
        expect("message_too_large", "RecordTooLargeException", o, Map.of("max.request.size", "8388608"),
            new ProducerRecord<>(topic, 0, null, large));
        expect("illegal_topic_name", "InvalidTopicException", o, Map.of(), new ProducerRecord<>("no/such", null, bytes("x")));
        expect("timestamp_refused", "InvalidTimestampException", o, Map.of(),
            new ProducerRecord<>(o.get("strict"), 0, 1L, null, bytes("x")));
    }

    static void sayPartitions(String event, Collection<TopicPartition> parts) {
        say("{\"event\": \"" + event + "\", \"partitions\": "
            + parts.stream().map(TopicPartition::partition).sorted().collect(Collectors.toList()) + "}");
    }

    /** Joins, consumes, commits after each poll, until a line (or the end) comes in on standard input. */
    static void member(Map<String, String> o) throws Exception {
        Properties p = consumerProperties(o);
        p.put(ConsumerConfig.GROUP_ID_CONFIG, o.get("group"));
        if (o.getOrDefault("protocol", "classic").equals("consumer")) {
            p.put(ConsumerConfig.GROUP_PROTOCOL_CONFIG, "consumer");
        } else {
            if (!o.getOrDefault("session", "").equals("default")) {
                p.put(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG, o.getOrDefault("session", "6000"));
                p.put(ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG, "1000");
            }
            if (o.getOrDefault("assignor", "").equals("cooperative"))
                p.put(ConsumerConfig.PARTITION_ASSIGNMENT_STRATEGY_CONFIG, CooperativeStickyAssignor.class.getName());
        }
        if (o.containsKey("instance"))
            p.put(ConsumerConfig.GROUP_INSTANCE_ID_CONFIG, o.get("instance"));
        AtomicBoolean asked = asked();
        try (KafkaConsumer<byte[], byte[]> c = new KafkaConsumer<>(p, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            Map<TopicPartition, OffsetAndMetadata> done = new HashMap<>(); // read, and not yet committed
            c.subscribe(Collections.singletonList(o.get("topic")), new ConsumerRebalanceListener() {
                @Override
                public void onPartitionsRevoked(Collection<TopicPartition> parts) {
                    sayPartitions("revoked", parts);
                    done.keySet().removeAll(parts);
                }

                @Override
                public void onPartitionsAssigned(Collection<TopicPartition> parts) {
                    sayPartitions("assigned", parts);
                }
            });
            while (!asked.get()) {
                for (ConsumerRecord<byte[], byte[]> r : c.poll(Duration.ofMillis(100))) {
                    sayRecord(r);
                    done.put(new TopicPartition(r.topic(), r.partition()), new OffsetAndMetadata(r.offset() + 1, "by java"));
                }
                if (done.isEmpty())
                    continue;
                try {
                    c.commitSync(done);
                    for (Map.Entry<TopicPartition, OffsetAndMetadata> e : done.entrySet())
                        say("{\"event\": \"committed\", \"p\": " + e.getKey().partition() + ", \"o\": " + e.getValue().offset() + "}");
                    done.clear();
                } catch (KafkaException why) {
                    // One that a rebalance overtook: the next poll takes part in it, then what is still ours is committed.
                    boolean retriable = why instanceof RetriableException || why instanceof RebalanceInProgressException;
                    say("{\"event\": \"commit_failed\", \"why\": " + json(why.toString()) + ", \"retriable\": " + retriable + "}");
                }
            }
        }
        say("{\"event\": \"closed\"}");
    }
}
