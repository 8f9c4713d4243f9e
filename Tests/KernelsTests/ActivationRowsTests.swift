import Foundation
import Kernels
import Support
import Testing

private let levels = InstructionSet.available

/// The values of a row after rounding, and its scales; those of groups are multiplied in and not given.
private struct Rounded: Equatable {
  var values: [UInt32]
  var scales: [UInt32]
}

private enum Rounding: Sendable {
  case int8, fp8(Float?), fixed(Float), groups(Int)
}

private func round(_ values: [Float], columns: Int, _ rounding: Rounding, _ level: InstructionSet) -> Rounded {
  var values = values
  var scales = [Float](repeating: 0, count: values.count / columns)
  var rows = values.mutableSpan
  var factors = scales.mutableSpan
  switch rounding {
  case .int8: ActivationRows.roundToInt8(&rows, columns: columns, scales: &factors, instructionSet: level)
  case .fp8(let bound):
    ActivationRows.roundToFP8(
      &rows, columns: columns, upperBound: bound, scales: &factors, instructionSet: level)
  case .fixed(let scale): ActivationRows.roundToFP8(&rows, scale: scale, instructionSet: level)
  case .groups(let size):
    ActivationRows.roundToFP8(&rows, columns: columns, groups: size, instructionSet: level)
  }
  return Rounded(values: values.map(\.bitPattern), scales: scales.map(\.bitPattern))
}

/// The value of the nearest e4m3 code, by the conversion that `NumberFormatTests` holds to golden tables.
private func e4m3(_ value: Float) -> Float {
  var bytes: [UInt8] = [0]
  var span = bytes.mutableSpan
  let values = [value]
  _ = NumberFormat.narrow(values.span, to: .e4m3, into: &span, instructionSet: .scalar)
  let codes = bytes
  return NumberFormat.widened(codes.span.bytes, from: .e4m3)[0]
}

@Suite("Activation rows")
struct ActivationRowsTests {
  /// Origin: the table of formats/quantization.md, by compressed-tensors 0.20.0 (`compute_dynamic_scales_and_zp`,
  /// `fake_quantize`). Values are compared, not signs of zero: adding its zero point of zero, the library drops them.
  @Test("The page's vectors", arguments: levels)
  func vectors(_ level: InstructionSet) throws {
    let page = try String(contentsOf: Fixtures.root.appending(path: "formats/quantization.md"), encoding: .utf8)
    var checked: [String: Int] = [:]
    for line in page.split(separator: "\n") {
      let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
      guard cells.count == 4, cells[2].split(separator: " ").count == 8 else { continue }
      let (scales, input, expected) = (floats(cells[1]), floats(cells[2]), floats(cells[3]))
      let rounding: Rounding
      switch cells[0] {
      case "int8 symmetric token": rounding = .int8
      case "fp8 group 4": rounding = .groups(4)
      case "fp8 static": rounding = .fixed(scales[0])
      default: continue
      }
      checked[cells[0], default: 0] += 1
      let found = round(input, columns: 8, rounding, level)
      var values = found.values.map { Float(bitPattern: $0) }
      if case .int8 = rounding { #expect(found.scales == [scales[0].bitPattern]) }
      // Where values are codes, their products with the scale are the library's values.
      if case .groups = rounding {} else { values = values.map { $0 * scales[0] } }
      #expect(values == expected, "\(line)")
    }
    #expect(checked == ["int8 symmetric token": 6, "fp8 group 4": 4, "fp8 static": 3])
  }

  private func floats(_ words: String) -> [Float] {
    words.split(separator: " ").compactMap { UInt32($0, radix: 16).map { Float(bitPattern: $0) } }
  }

  /// Rows whose magnitudes go from subnormal to near the largest; every tail of a vector.
  private func rows(_ columns: Int, seed: UInt64) -> [Float] {
    var random = SeededRandom(seed: seed)
    return (0..<26 * columns).map { index in
      let row = index / columns
      return row == 25 ? 0 : random.normal(Float(sign: .plus, exponent: row * 10 - 130, significand: 1))
    }
  }

  @Test("int8 is its formula, operation by operation in binary32", arguments: levels, [1, 5, 16, 31, 32, 33, 1003])
  func int8(_ level: InstructionSet, _ columns: Int) {
    let seed = SeededRandom.freshSeed()
    let values = rows(columns, seed: seed)
    var expected = Rounded(values: [], scales: [])
    for start in stride(from: 0, to: values.count, by: columns) {
      let row = values[start..<start + columns]
      var scale = (row.map(\.magnitude).max() ?? 0) / 127.5
      if scale == 0 { scale = 0x1p-23 }
      expected.scales.append(scale.bitPattern)
      expected.values += row.map { min(max(($0 / scale).rounded(.toNearestOrEven), -128), 127).bitPattern }
    }
    #expect(round(values, columns: columns, .int8, level) == expected, "seed \(seed)")
  }

  @Test("e4m3 against a stored scale is its formula", arguments: levels, [1, 5, 16, 31, 32, 33, 403])
  func fixedScale(_ level: InstructionSet, _ columns: Int) {
    let seed = SeededRandom.freshSeed()
    let values = rows(columns, seed: seed)
    for scale: Float in [0x1p-100, 0.003, 1, 7e20] {
      let expected = values.map { e4m3($0 / scale).bitPattern }
      #expect(round(values, columns: columns, .fixed(scale), level).values == expected, "seed \(seed)")
    }
  }

  @Test("e4m3 in groups is its formula, the last group shorter", arguments: levels, [1, 5, 16, 33, 128, 200])
  func groups(_ level: InstructionSet, _ size: Int) {
    let seed = SeededRandom.freshSeed()
    let columns = 203
    let values = rows(columns, seed: seed)
    var expected: [UInt32] = []
    for row in stride(from: 0, to: values.count, by: columns) {
      for start in stride(from: row, to: row + columns, by: size) {
        let group = values[start..<min(start + size, row + columns)]
        var scale = (group.map(\.magnitude).max() ?? 0) / 448
        if scale == 0 { scale = 0x1p-23 }
        expected += group.map { (e4m3($0 / scale) * scale).bitPattern }
      }
    }
    #expect(round(values, columns: columns, .groups(size), level).values == expected, "seed \(seed)")
  }

  @Test("Codes are exact in BF16", arguments: levels)
  func exactInBF16(_ level: InstructionSet) {
    let values = rows(64, seed: SeededRandom.freshSeed())
    for rounding in [Rounding.int8, .fp8(nil), .fixed(0.01)] {
      #expect(round(values, columns: 64, rounding, level).values.allSatisfy { $0 & 0xFFFF == 0 })
    }
  }
}
