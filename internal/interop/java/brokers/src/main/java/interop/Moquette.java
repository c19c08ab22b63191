package interop;

import io.moquette.broker.Server;
import io.moquette.broker.config.MemoryConfig;
import java.util.Properties;

/** Runs Moquette, open to everybody. Arguments: port and an empty directory. */
public class Moquette {
    public static void main(String[] args) throws Exception {
        Properties p = new Properties();
        p.setProperty("port", args[0]);
        p.setProperty("host", "127.0.0.1");
        p.setProperty("allow_anonymous", "true");
        p.setProperty("data_path", args[1]);
        p.setProperty("persistence_enabled", "false");
        p.setProperty("telemetry_enabled", "false");
        Server broker = new Server();
        Runtime.getRuntime().addShutdownHook(new Thread(broker::stopServer));
        broker.startServer(new MemoryConfig(p));
        Thread.currentThread().join();
    }
}
