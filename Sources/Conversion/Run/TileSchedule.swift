internal import Checkpoints

/// Numbers all tiles of all steps, so that a worker finds its tile from one counter.
struct TileSchedule: Sendable {
  /// `starts[i]` is the position of the first tile of step `i`; the last entry is the number of tiles.
  private let starts: [Int]

  init(_ steps: [PlannedStep]) {
    var starts = [0]
    for step in steps { starts.append(starts[starts.count - 1] + step.tileCount) }
    self.starts = starts
  }

  var tileCount: Int { starts[starts.count - 1] }

  func positions(ofStep step: Int) -> Range<Int> { starts[step]..<starts[step + 1] }

  func tile(at position: Int) -> (step: Int, tile: Int) {
    // The last start that is not behind the position; empty steps have no positions.
    var low = 0
    var high = starts.count - 1
    while high - low > 1 {
      let middle = (low + high) / 2
      if starts[middle] <= position { low = middle } else { high = middle }
    }
    return (low, position - starts[low])
  }

  /// Bytes of input that a tile reads.
  func inputByteCount(at position: Int, _ steps: [PlannedStep]) -> Int {
    let (step, tile) = tile(at: position)
    return steps[step].rowRange(ofTile: tile).count * steps[step].rows.rowByteCount
  }

  /// The tiles of one part: neighbours, so that each part reads its own stretch of the input.
  func positions(ofPart part: WorkPart, _ steps: [PlannedStep]) -> Range<Int> {
    part.range(ofCosts: (0..<tileCount).map { UInt64(inputByteCount(at: $0, steps)) })
  }
}
