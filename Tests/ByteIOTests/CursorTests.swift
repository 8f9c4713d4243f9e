import ByteIO
import Testing

@Suite("Byte cursor")
struct CursorTests {
  @Test func readsLittleEndian() throws {
    let bytes: [UInt8] = [0x01, 0x02, 0x03, 0x04, 0x05, 0xFF, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]
    var cursor = ByteCursor(bytes.span.rawBytes)
    #expect(try cursor.read(UInt8.self) == 1)
    #expect(try cursor.read(UInt32.self) == 0x0504_0302)
    #expect(try cursor.read(Int8.self) == -1)
    #expect(cursor.offset == 6 && cursor.remaining == 8)
    #expect(try cursor.read(UInt64.self) == 0x8877_6655_4433_2211)
    #expect(cursor.remaining == 0)
  }

  @Test func refusesToReadPastTheEndAndStaysWhereItWas() throws {
    let bytes: [UInt8] = [1, 2, 3]
    var cursor = ByteCursor(bytes.span.rawBytes, base: 100)
    _ = try cursor.read(UInt8.self)
    // A mutable cursor cannot be captured by the escaping form of #expect(throws:), hence the plain do.
    do {
      _ = try cursor.read(UInt32.self)
      Issue.record("four bytes were read from two")
    } catch {
      #expect(error == ParseFailure("4 bytes expected, 2 left", offset: 101))
    }
    #expect(try cursor.read(UInt16.self) == 0x0302)
  }

  @Test(arguments: [4, 0x8000_0000_0000_0000, UInt64.max])
  func refusesSlicesLargerThanTheRest(_ count: UInt64) {
    let bytes: [UInt8] = [1, 2, 3]
    var cursor = ByteCursor(bytes.span.rawBytes, base: 8)
    do {
      _ = try cursor.slice(count)
      Issue.record("\(count) bytes were lent from three")
    } catch {
      #expect(error.offset == 8)
    }
    #expect(cursor.offset == 0)
  }

  @Test func slices() throws {
    let bytes: [UInt8] = [1, 2, 3, 4]
    var cursor = ByteCursor(bytes.span.rawBytes)
    #expect(try cursor.slice(0).byteCount == 0)
    _ = try cursor.read(UInt8.self)
    let part = try cursor.slice(2)
    var inner = ByteCursor(part)
    #expect(try inner.read(UInt16.self) == 0x0302)
    #expect(try cursor.slice(1).byteCount == 1 && cursor.remaining == 0)
    #expect(try cursor.slice(0).byteCount == 0)
  }

  @Test func emptyInput() {
    let bytes: [UInt8] = []
    var cursor = ByteCursor(bytes.span.rawBytes)
    #expect((try? cursor.read(UInt8.self)) == nil)
  }
}

@Suite("Names as keys")
struct UTF8KeyTests {
  @Test func comparesBytes() {
    // One character in two normal forms: equal as Swift strings, different here.
    let (composed, decomposed) = ("\u{E9}", "e\u{301}")
    #expect(composed == decomposed)
    #expect(UTF8Key(composed) != UTF8Key(decomposed))
    #expect(UTF8Key("") == UTF8Key("") && UTF8Key("") < UTF8Key("\0"))
    #expect(Set([composed, decomposed, composed].map(UTF8Key.init)).count == 2)
  }

  /// Byte order is not UTF-16 order: U+1F600 comes after U+FFFF.
  @Test func ordersByBytes() {
    let sorted = ["", "a", "a\0", "aa", "b", "\u{7F}", "\u{E9}", "\u{FFFF}", "\u{1F600}"]
    #expect(sorted.shuffled().map(UTF8Key.init).sorted().map(\.text) == sorted)
  }
}
