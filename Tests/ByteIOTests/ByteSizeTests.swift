import ByteIO
import Testing

@Suite("Sizes in bytes")
struct ByteSizeTests {
  @Test(
    "reads",
    arguments: [
      ("0", 0), ("1", 1), ("7B", 7), ("1048576", 1 << 20), ("5GB", 5_000_000_000), ("5G", 5_000_000_000),
      ("5gb", 5_000_000_000),
      ("5g", 5_000_000_000), ("5GiB", 5 << 30), ("5Gi", 5 << 30), ("5gib", 5 << 30), ("500MB", 500_000_000),
      ("500 MB", 500_000_000),
      ("1kB", 1000), ("1KB", 1000), ("1KiB", 1024), ("2T", 2_000_000_000_000), ("2TiB", 2 << 40),
      ("1.5GB", 1_500_000_000),
      ("0.5KiB", 512), ("1.000000000001TB", 1_000_000_000_001), ("0.1GiB", 107_374_182), ("007", 7),
      ("18446744073709551615", UInt64.max), ("16777215TiB", 16_777_215 << 40),
    ] as [(String, UInt64)])
  func reads(_ text: String, _ byteCount: UInt64) throws {
    #expect(try ByteSize(parsing: text).byteCount == byteCount)
  }

  @Test(
    "refuses",
    arguments: [
      "", " ", "GB", "-1", "+1", "1e9", "5Gb", "5Mb", "5GIB ", "5 G B", "5PB", "5GBs", "1.5.2G", ".5G", "1.G", "1.",
      "5,5GB", "0x10",
      "٣GB", "½GB", "5ＧB", " 5GB", "18446744073709551616", "16777216TiB", "99999999999999999999999999999",
      "340282366920938463463374607431768211456",
    ])
  func refuses(_ text: String) {
    #expect(throws: ParseFailure.self) { try ByteSize(parsing: text) }
  }

  @Test(
    "prints",
    arguments: [
      (0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.00 kB"), (1234, "1.23 kB"), (9994, "9.99 kB"),
      (9996, "10.0 kB"),
      (99_949, "99.9 kB"), (99_951, "100 kB"), (999_400, "999 kB"), (999_500, "1.00 MB"), (4_976_000_000, "4.98 GB"),
      (UInt64.max, "18.4 EB"),
    ] as [(UInt64, String)])
  func prints(_ byteCount: UInt64, _ text: String) {
    #expect(ByteSize(byteCount).description == text)
  }

  @Test func order() { #expect(ByteSize(1) < ByteSize(2)) }
}
