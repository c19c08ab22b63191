package interop;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.CompressionType;
import org.apache.kafka.common.record.internal.ControlRecordType;
import org.apache.kafka.common.record.internal.EndTransactionMarker;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MemoryRecordsBuilder;
import org.apache.kafka.common.record.internal.MutableRecordBatch;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.utils.Utils;

/**
 * "write" prints record batches and message sets of Kafka's own classes, as lines "NAME 0xHEX TEXT". "read" reads lines "0xHEX"
 * and prints the text of each. "murmur2" reads lines and prints the hash of each.
 */
public class KafkaRecords {
    public static void main(String[] args) throws Exception {
        if (args[0].equals("write")) {
            write();
            return;
        }
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = in.readLine()) != null; ) {
            if (args[0].equals("murmur2")) {
                System.out.println(Utils.murmur2(line.getBytes(StandardCharsets.UTF_8)));
                continue;
            }
            try {
                System.out.println(describe(HexFormat.of().parseHex(line.substring(2))));
            } catch (Throwable e) {
                System.out.println("error " + e.toString().replace('\n', ' '));
            }
        }
    }

    static void write() {
        for (byte magic = 0; magic <= 2; magic++) {
            for (CompressionType type : CompressionType.values()) {
                if (type == CompressionType.ZSTD && magic < 2) {
                    continue;
                }
                String name = "magic-" + magic + "-" + type.name;
                print(name, build(magic, type, TimestampType.CREATE_TIME, 7, -1, (short) -1, -1, false));
                if (magic > 0) {
                    print(name + "-append-time", build(magic, type, TimestampType.LOG_APPEND_TIME, 0, -1, (short) -1, -1, false));
                }
                if (magic == 2) {
                    print(name + "-transactional", build(magic, type, TimestampType.CREATE_TIME, 1L << 40, 4711, (short) 3, 2147483646, true));
                }
            }
        }
        for (ControlRecordType type : new ControlRecordType[] {ControlRecordType.COMMIT, ControlRecordType.ABORT}) {
            print("marker-" + type.name().toLowerCase(), MemoryRecords.withEndTransactionMarker(42, 1700000000000L, -1, 4711, (short) 3,
                new EndTransactionMarker(type, 9)));
        }
    }

    static MemoryRecords build(byte magic, CompressionType type, TimestampType time, long base, long producer, short epoch,
            int sequence, boolean transactional) {
        Compression compression = Compression.of(type).build();
        MemoryRecordsBuilder b = MemoryRecords.builder(ByteBuffer.allocate(4096), magic, compression,
            magic == 0 ? TimestampType.NO_TIMESTAMP_TYPE : time, base, 1700000000500L, producer, epoch, sequence, transactional, false, 5);
        Header[] headers = {new RecordHeader("name", "value".getBytes()), new RecordHeader("", null)};
        long at = magic == 0 ? -1 : 1700000000000L;
        b.append(at, "key".getBytes(), "value, value, value, value, value, value".getBytes(), magic < 2 ? new Header[0] : headers);
        b.append(magic == 0 ? -1 : at + 7, null, new byte[0]);
        b.append(magic == 0 ? -1 : at - 3, new byte[0], null);
        return b.build();
    }

    static void print(String name, MemoryRecords records) {
        ByteBuffer buffer = records.buffer().duplicate();
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        System.out.println(name + " 0x" + HexFormat.of().formatHex(bytes) + " " + describe(bytes));
    }

    static String describe(byte[] bytes) {
        StringBuilder s = new StringBuilder();
        for (MutableRecordBatch batch : MemoryRecords.readableRecords(ByteBuffer.wrap(bytes)).batches()) {
            batch.ensureValid();
            s.append(s.isEmpty() ? "" : " ").append("magic=").append(batch.magic());
            s.append(" compression=").append(batch.compressionType().name);
            s.append(" append=").append(batch.timestampType() == TimestampType.LOG_APPEND_TIME);
            if (batch.magic() == 2) {
                s.append(" base=").append(batch.baseOffset()).append(" last=").append(batch.lastOffset());
                s.append(" leader=").append(batch.partitionLeaderEpoch()).append(" max=").append(batch.maxTimestamp());
                s.append(" producer=").append(batch.producerId()).append('/').append(batch.producerEpoch());
                s.append('/').append(batch.baseSequence()).append('/').append(batch.lastSequence());
                s.append(" transactional=").append(batch.isTransactional()).append(" control=").append(batch.isControlBatch());
                s.append(" horizon=").append(batch.deleteHorizonMs().isPresent() ? batch.deleteHorizonMs().getAsLong() : -1);
            }
            for (Record r : batch) {
                s.append(" [").append(r.offset()).append(' ').append(r.timestamp());
                s.append(' ').append(text(r.key())).append(' ').append(text(r.value()));
                for (Header h : r.headers()) {
                    s.append(' ').append(h.key()).append('=').append(text(h.value() == null ? null : ByteBuffer.wrap(h.value())));
                }
                s.append(']');
                if (batch.isControlBatch()) {
                    ControlRecordType type = ControlRecordType.parse(r.key());
                    s.append(' ').append(type.name().toLowerCase());
                    if (type == ControlRecordType.COMMIT || type == ControlRecordType.ABORT) {
                        s.append('=').append(EndTransactionMarker.deserialize(r).coordinatorEpoch());
                    }
                }
            }
        }
        return s.toString();
    }

    static String text(ByteBuffer b) {
        if (b == null) {
            return "null";
        }
        byte[] bytes = new byte[b.remaining()];
        b.duplicate().get(bytes);
        return '"' + HexFormat.of().formatHex(bytes) + '"';
    }
}
