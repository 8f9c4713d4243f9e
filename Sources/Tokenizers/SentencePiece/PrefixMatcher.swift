/// Finds which of a set of texts a text goes on with, the longest first. The time per place is bounded by the longest
/// text, however many there are.
struct PrefixMatcher: Sendable {
  /// Sorted by their bytes, none empty, none twice.
  private let texts: [[UInt8]]
  /// Index of the first text whose first byte is not below the index here.
  private let starts: [Int]

  init(_ texts: [[UInt8]]) {
    let texts = texts.sorted { $0.lexicographicallyPrecedes($1) }
    self.texts = texts
    var (starts, next) = ([Int](), 0)
    for byte in 0...256 {
      while next < texts.count, Int(texts[next][0]) < byte { next += 1 }
      starts.append(next)
    }
    self.starts = starts
  }

  var isEmpty: Bool { texts.isEmpty }

  /// Length in bytes of the longest match at `start`; 0 when there is none.
  @inline(__always)
  func longestMatch(in text: Span<UInt8>, at start: Int) -> Int {
    if texts.isEmpty { return 0 }
    return search(text, start)
  }

  private func search(_ text: Span<UInt8>, _ start: Int) -> Int {
    var low = starts[Int(text[start])]
    var high = starts[Int(text[start]) + 1]
    var (best, depth) = (0, 1)
    // All of low..<high begin with the `depth` bytes at `start`; of them only the first can end there.
    while low < high {
      if texts[low].count == depth {
        best = depth
        low += 1
      }
      guard start + depth < text.count else { break }
      let byte = text[start + depth]
      low = firstIndex(in: low..<high) { texts[$0][depth] >= byte }
      high = firstIndex(in: low..<high) { texts[$0][depth] > byte }
      depth += 1
    }
    return best
  }

  private func firstIndex(in range: Range<Int>, where isBehind: (Int) -> Bool) -> Int {
    var (low, high) = (range.lowerBound, range.upperBound)
    while low < high {
      let middle = (low + high) / 2
      if isBehind(middle) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
